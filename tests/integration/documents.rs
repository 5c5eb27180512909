//! Pages that name files name files that exist.

use std::{fs, path::Path};

#[test]
fn every_file_that_the_pages_name_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in [
        "README.md",
        "ARCHITECTURE.md",
        "models/solver/README.md",
        "directions/README.md",
        "docs/who-gets-the-drink.md",
    ] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        for name in text.split('`').skip(1).step_by(2) {
            let is_path =
                name.contains('/') && name.contains('.') && !name.contains([' ', '(', '{', '<']);
            assert!(!is_path || root.join(name).exists(), "{page} names {name}");
        }
    }
}
