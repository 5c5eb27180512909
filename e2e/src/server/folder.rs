//! A folder as an address has it: its files, their names, their paths.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use anyhow::Result;

/// The bytes of the file at a path of an address; nothing outside the folder is one.
pub(super) fn file(folder: &Path, path: &str) -> Option<Vec<u8>> {
    let relative = PathBuf::from(percent_decoded(path)?);
    let stays = |part| matches!(part, Component::Normal(_));
    if !relative.components().all(stays) {
        return None;
    }
    fs::read(folder.join(relative)).ok()
}

/// The names in a folder, in their order, as JSON.
pub(super) fn names(folder: &Path) -> Result<Vec<u8>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(serde_json::to_vec(&names)?)
}

/// The paths of all files in a folder, from `prefix`.
pub(super) fn list(folder: &Path, prefix: &str, paths: &mut Vec<String>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            list(&entry.path(), &path, paths)?;
        } else {
            paths.push(path);
        }
    }
    Ok(())
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        if *first == b'%' {
            let digits = str::from_utf8(tail.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = tail.get(2..)?;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}
