//! What files are called: by what they hold, and by every setting that is not the default one.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Part of a file's name that says a setting, where it is another one than the default.
pub fn tag<T: PartialEq + fmt::Display>(name: &str, value: T, default: T) -> Option<String> {
    (value != default).then(|| format!("{name}{value}"))
}

/// Name of a file without folder and extension.
pub fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What files are called by of a model's name: the last part of a folder's path or of a Hub id.
pub fn short_name(model: &str) -> &str {
    let model = model.trim_end_matches(['/', '\\']);
    model.rsplit(['/', '\\']).next().unwrap_or_default()
}

/// The file that is meant by `out`: in a folder that is there, the one of this name.
pub fn file_at(out: PathBuf, name: &str) -> PathBuf {
    match out.is_dir() {
        true => out.join(name),
        false => out,
    }
}
