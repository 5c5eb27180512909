//! Files that a person drops or chooses.

use wasm_bindgen::JsCast;
use web_sys::{Event, File, FileList, HtmlInputElement};

/// Files of a list.
pub fn files_of(list: &FileList) -> Vec<File> {
    (0..list.length()).filter_map(|idx| list.get(idx)).collect()
}

/// Files that an input has taken; the input is emptied, so that the same file can be chosen again.
pub fn chosen_files(event: &Event) -> Vec<File> {
    let input = event
        .target()
        .and_then(|target| target.dyn_into::<HtmlInputElement>().ok());
    let Some(input) = input else {
        return Vec::new();
    };
    let files = input.files().map(|list| files_of(&list));
    input.set_value("");
    files.unwrap_or_default()
}
