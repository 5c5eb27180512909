//! `cargo xtask setup`: the compiler's parts, the two tools that cargo does not fetch by itself, and a browser to test in.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail};

use crate::shell::{self, Shell};

const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// A program installed from its crate, in the one version that the project is built with.
struct Tool {
    program: &'static str,
    package: &'static str,
    version: &'static str,
}

const TRUNK: Tool = Tool {
    program: "trunk",
    package: "trunk",
    version: "0.21.14",
};

const WASM_BINDGEN: Tool = Tool {
    program: "wasm-bindgen",
    package: "wasm-bindgen-cli",
    version: "0.2.130",
};

const CHROME_NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

const APT_INSTALL: &str = "apt-get install -y --no-install-recommends chromium chromium-driver";

/// Installs what is missing:
/// clippy and rustfmt, the wasm32-unknown-unknown standard library, trunk, wasm-bindgen,
/// and, as root on Debian, Chromium with its chromedriver.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Installs everything that is missing and says what was there.
///
/// # Errors
/// - if a part is missing and cannot be installed; the message has the command and what to do by hand
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {} = args;
    everything()?;
    // Only the browser tests need it, and they can be left out.
    if let Err(error) = browser() {
        eprintln!("setup: the browser tests will be left out: {error:#}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Puts every part in place that the demo needs.
///
/// # Errors
/// - if a part is missing and cannot be installed
pub fn everything() -> Result<()> {
    compiler_components()?;
    wasm_library()?;
    web_tools()
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
    if !has_wasm_library()? {
        prebuilt("wasm")?;
    }
    if has_wasm_library()? {
        eprintln!("setup: the standard library for {WASM_TARGET} is there");
        return Ok(());
    }
    install(
        &Shell::new(&format!("rustup target add {WASM_TARGET}")),
        &format!("add rust-std for {WASM_TARGET} to the toolchain of rust-toolchain.toml"),
    )
}

/// Puts trunk and wasm-bindgen in place.
///
/// # Errors
/// - if one is on PATH in another version, which stays untouched
/// - if one is missing and cargo cannot install it
pub fn web_tools() -> Result<()> {
    let tools = [TRUNK, WASM_BINDGEN];
    if tools.iter().any(|tool| tool.found().is_none()) {
        prebuilt("tools")?;
    }
    for tool in tools {
        tool.put_in_place()?;
    }
    Ok(())
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
                eprintln!("setup: running `{command}`");
                // What is there afterwards decides.
                if let Err(error) = command.run() {
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

impl Tool {
    /// What the program on PATH answers to `--version`, if there is one.
    fn found(&self) -> Option<String> {
        Shell::new(&format!("{} --version", self.program)).output()
    }

    fn put_in_place(&self) -> Result<()> {
        let Tool {
            program,
            package,
            version,
        } = self;
        let command = Shell::new(&format!("cargo install --locked {package}@{version}"));
        if self.found().is_none() {
            install(
                &command,
                &format!("install {package} {version} by other means and put `{program}` on PATH"),
            )?;
        }
        match self.found() {
            Some(found) if is_version(&found, version) => {
                eprintln!("setup: {found} is there");
                Ok(())
            }
            Some(found) => {
                bail!("{found} is on PATH, version {version} is needed: run `{command}`")
            }
            None => bail!(
                "`{program}` is installed but cannot be run: put the folder that `{command}` names on PATH"
            ),
        }
    }
}

/// Whether a program's answer to `--version` starts with its name and then `version`.
fn is_version(answer: &str, version: &str) -> bool {
    answer.split_whitespace().nth(1) == Some(version)
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

/// Unpacks a prebuilt part with the script beside the checkout, where there is one: the same, sooner.
fn prebuilt(part: &str) -> Result<()> {
    let script = shell::root()?.join("../shared/tools/warm");
    if !script.is_file() {
        return Ok(());
    }
    let command = Shell::new(&format!("../shared/tools/warm {part}"));
    eprintln!("setup: running `{command}`");
    // Its failure is not the end: what it did not install is installed the common way.
    if let Err(error) = command.run() {
        eprintln!("setup: {error:#}");
    }
    Ok(())
}

fn install(command: &Shell, by_hand: &str) -> Result<()> {
    eprintln!("setup: running `{command}`");
    command
        .run()
        .with_context(|| format!("setup failed; by hand: {by_hand}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_the_second_word() {
        assert!(is_version("trunk 0.21.14", "0.21.14"));
        assert!(is_version("wasm-bindgen 0.2.130 (1a2b3c4)", "0.2.130"));
        assert!(!is_version("trunk 0.21.1", "0.21.14"));
        assert!(!is_version("trunk", "0.21.14"));
    }
}
