//! `cargo xtask list-directions`: the list that the page reads, since a static server lists no folder.

use std::{fs, process::ExitCode};

use anyhow::{Context, Result};

use crate::shell;

/// Writes `directions/index.json`, the names of the learned directions; trunk calls this before every build.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Writes the list.
///
/// # Errors
/// - if the folder cannot be read or written
pub fn run(Args {}: Args) -> Result<ExitCode> {
    let folder = shell::root()?.join("directions");
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let list = folder.join("index.json");
    // Names are files' names: quotes and backslashes are escaped, control characters do not come up.
    let names: Vec<String> = names()?
        .iter()
        .map(|name| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    fs::write(&list, format!("[{}]\n", names.join(", ")))
        .with_context(|| format!("writing {}", list.display()))?;
    Ok(ExitCode::SUCCESS)
}

/// Names of the direction files in `directions`, sorted.
///
/// # Errors
/// - if the folder cannot be read
pub fn names() -> Result<Vec<String>> {
    let folder = shell::root()?.join("directions");
    let entries = fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".safetensors"))
        .collect();
    names.sort();
    Ok(names)
}
