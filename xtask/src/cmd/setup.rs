//! `cargo xtask setup`: the compiler's parts, and what only the tests need: a browser, and trunk.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result};

use crate::shell::Shell;

/// What the page is compiled for.
pub const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Package and oldest version of the program that people serve the page with while they change it.
const TRUNK: &str = "trunk@0.21.14";

const CHROME_NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

const APT_INSTALL: &str = "apt-get install -y --no-install-recommends chromium chromium-driver";

/// Installs what is missing for `cargo xtask test`; the page and the demo need nothing of it:
/// clippy and rustfmt, the wasm32-unknown-unknown standard library, trunk,
/// and, as root on Debian, Chromium with its chromedriver.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Installs everything that is missing and says what was there.
///
/// # Errors
/// - if a part that every test needs is missing and cannot be installed; the message says what to do by hand
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {} = args;
    compiler_components()?;
    wasm_library()?;
    // The tests that need these are left out without them.
    for missing in [trunk().err(), browser().err()].into_iter().flatten() {
        eprintln!("setup: some tests will be left out: {missing:#}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts clippy and rustfmt in place.
///
/// # Errors
/// - if one is missing and rustup cannot add it
pub fn compiler_components() -> Result<()> {
    for (component, version) in [
        ("clippy", "cargo clippy --version"),
        ("rustfmt", "cargo fmt --version"),
    ] {
        if let Some(found) = Shell::new(version).output() {
            eprintln!("setup: {found} is there");
            continue;
        }
        install(
            &Shell::new(&format!("rustup component add {component}")),
            &format!("add {component} to the toolchain of rust-toolchain.toml"),
        )?;
    }
    Ok(())
}

/// Puts the standard library for wasm32-unknown-unknown in place.
///
/// # Errors
/// - if it is missing and rustup cannot add it
pub fn wasm_library() -> Result<()> {
    if has_wasm_library()? {
        return Ok(());
    }
    install(
        &Shell::new(&format!("rustup target add {WASM_TARGET}")),
        &format!("add rust-std for {WASM_TARGET} to the toolchain of rust-toolchain.toml"),
    )
}

/// Whether trunk is on PATH.
pub fn has_trunk() -> bool {
    Shell::new("trunk --version").output().is_some()
}

/// Puts trunk in place: as its authors built it, and where the registry lacks one of those crates, with others.
///
/// # Errors
/// - if it is missing and cargo cannot install it
pub fn trunk() -> Result<()> {
    if has_trunk() {
        return Ok(());
    }
    let locked = Shell::new(&format!("cargo install --locked {TRUNK}"));
    let unlocked = Shell::new(&format!("cargo install {TRUNK}"));
    let by_hand = "install trunk by other means and put it on PATH";
    install(&locked, by_hand).or_else(|error| {
        eprintln!("setup: {error:#}");
        install(&unlocked, by_hand)
    })
}

/// The browser that the page is tested in, and the program that drives it.
pub struct Browser {
    /// The browser's path, for `CHROME`.
    pub chrome: String,
    /// The driver's path, for `CHROMEDRIVER`.
    pub chromedriver: String,
}

impl Browser {
    /// What `CHROME` and `CHROMEDRIVER` name, else the usual names on PATH.
    fn found() -> Result<Browser> {
        let found = |variable: &str, names: &[&str]| {
            if let Ok(program) = env::var(variable) {
                return Ok(program);
            }
            // chromedriver asks for a path; a launcher without a browser behind it answers nothing.
            let paths = names.iter().flat_map(|name| on_path(name));
            let mut programs = paths.filter_map(|path| path.to_str().map(str::to_owned));
            programs
                .find(|path| Shell::new(&format!("{path} --version")).output().is_some())
                .with_context(|| {
                    format!(
                        "no {} on PATH, and {variable} is not set",
                        names.join(" or ")
                    )
                })
        };
        Ok(Browser {
            chrome: found("CHROME", &CHROME_NAMES)?,
            chromedriver: found("CHROMEDRIVER", &["chromedriver"])?,
        })
    }
}

/// Puts Chromium and chromedriver in place: as root on Debian with apt-get, elsewhere they must be there.
///
/// # Errors
/// - if one is missing and cannot be installed
pub fn browser() -> Result<Browser> {
    if Browser::found().is_err() {
        let is_root = Shell::new("id -u").output().as_deref() == Some("0");
        if is_root && Shell::new("apt-get --version").output().is_some() {
            for line in ["apt-get update", APT_INSTALL] {
                let command = Shell::new(line).variable("DEBIAN_FRONTEND", "noninteractive");
                // What is there afterwards decides.
                if let Err(error) = install(&command, "install Chromium and its chromedriver") {
                    eprintln!("setup: {error:#}");
                }
            }
        }
    }
    let browser = Browser::found().context("install Chromium and its chromedriver")?;
    eprintln!(
        "setup: {} and {} are there",
        browser.chrome, browser.chromedriver
    );
    Ok(browser)
}

/// Every file of this name in the folders of PATH.
fn on_path(name: &str) -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let files = env::split_paths(&path).map(|folder| folder.join(name));
    files.filter(|file| file.is_file()).collect()
}

fn has_wasm_library() -> Result<bool> {
    let sysroot = Shell::new("rustc --print sysroot")
        .output()
        .context("`rustc --print sysroot` failed: install Rust with rustup")?;
    let folder = Path::new(&sysroot)
        .join("lib/rustlib")
        .join(WASM_TARGET)
        .join("lib");
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(false);
    };
    Ok(entries.flatten().any(|entry| {
        entry
            .file_name()
            .to_str()
            .is_some_and(|name| name.starts_with("libstd-") && name.ends_with(".rlib"))
    }))
}

/// Runs what downloads or builds a part, and says how long it took.
fn install(command: &Shell, by_hand: &str) -> Result<()> {
    eprintln!("setup: running `{command}`");
    let started = Instant::now();
    command
        .run()
        .with_context(|| format!("setup failed; by hand: {by_hand}"))?;
    let secs = started.elapsed().as_secs_f64();
    eprintln!("setup: done in {secs:.0} s");
    Ok(())
}
