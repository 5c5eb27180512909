//! With the feature `page`, the built page must be there: without it, the build ends and says what builds it.

use std::{env, path::Path};

fn main() {
    const DIST: &str = "../dist";
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_PAGE").is_none() {
        return;
    }
    // A page that was built anew, with other names of files, is taken in anew.
    println!("cargo::rerun-if-changed={DIST}");
    if !Path::new(DIST).join("index.html").is_file() {
        println!(
            "cargo::error=the feature `page` puts the built page into the program, and dist has no index.html; build it first: cargo xtask page"
        );
    }
}
