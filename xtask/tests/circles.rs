//! No circle of imports in any crate: among the modules of one folder, none knows another that knows it, directly or through
//! others. A module and what lies in its folder count as one; tests, and paths inside a macro's call, are not looked at.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fs::{self, DirEntry},
    io,
    path::Path as FilePath,
};

use syn::{
    Attribute, File, ItemMod, ItemUse, Path, UseTree, Visibility,
    visit::{self, Visit},
};

/// Crates whose modules are looked at.
const CRATES: [&str; 6] = ["core", "engine", "kernels", "native-trainer", "web", "e2e"];

/// Names from the crate's root on; the root itself is none.
type Module = Vec<String>;

/// What a module says of others.
#[derive(Default)]
struct Source {
    /// Paths that are used, as they are written.
    paths: Vec<Vec<String>>,
    /// Names that it hands on, and the paths behind them; `*` is all names of a module.
    exports: Vec<(String, Vec<String>)>,
}

impl Source {
    fn add_tree(&mut self, mut path: Vec<String>, tree: &UseTree, is_export: bool) {
        match tree {
            UseTree::Path(part) => {
                path.push(part.ident.to_string());
                self.add_tree(path, &part.tree, is_export);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(path.clone(), tree, is_export);
                }
            }
            UseTree::Name(name) => self.add(path, &name.ident.to_string(), None, is_export),
            UseTree::Rename(name) => {
                let rename = name.rename.to_string();
                self.add(path, &name.ident.to_string(), Some(rename), is_export);
            }
            UseTree::Glob(_) => self.add(path, "*", None, is_export),
        }
    }

    fn add(&mut self, mut path: Vec<String>, name: &str, rename: Option<String>, is_export: bool) {
        let own = match name {
            "self" => path.last().cloned().unwrap_or_default(),
            name => name.to_owned(),
        };
        if !["self", "*"].contains(&name) {
            path.push(name.to_owned());
        }
        if is_export {
            self.exports.push((rename.unwrap_or(own), path.clone()));
        }
        self.paths.push(path);
    }
}

impl<'a> Visit<'a> for Source {
    fn visit_item_use(&mut self, item: &'a ItemUse) {
        if !is_test(&item.attrs) {
            let is_export = !matches!(item.vis, Visibility::Inherited);
            self.add_tree(Vec::new(), &item.tree, is_export);
        }
    }

    fn visit_item_mod(&mut self, item: &'a ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &'a Path) {
        let names = path.segments.iter().map(|part| part.ident.to_string());
        self.paths.push(names.collect());
        visit::visit_path(self, path);
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    let is_test = |attribute: &Attribute| {
        let arguments = attribute
            .meta
            .require_list()
            .map(|list| list.tokens.to_string());
        attribute.path().is_ident("cfg") && arguments.is_ok_and(|text| text == "test")
    };
    attributes.iter().any(is_test)
}

/// Every module below a folder.
fn read(folder: &FilePath, module: &Module, found: &mut BTreeMap<Module, Source>) {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<DirEntry>>>);
    for entry in entries.unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "tests" {
            continue;
        }
        let inner = match name.as_str() {
            "lib" | "main" if module.is_empty() => module.clone(),
            _ => [&module[..], std::slice::from_ref(&name)].concat(),
        };
        if path.is_dir() {
            read(&path, &inner, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let file: File = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            found.entry(inner).or_default().visit_file(&file);
        }
    }
}

/// Modules by what they name.
struct Crate {
    modules: BTreeMap<Module, Source>,
    /// What the crate is called in its own program.
    name: String,
}

impl Crate {
    fn read(folder: &str) -> Self {
        // Not the one of the build: clones may share a target folder.
        let root = env::var_os("CARGO_MANIFEST_DIR").unwrap();
        let root = FilePath::new(&root).join("..").join(folder);
        let mut modules = BTreeMap::new();
        read(&root.join("src"), &Module::new(), &mut modules);
        let name = format!("swivel_{}", folder.replace('-', "_"));
        Self { modules, name }
    }

    /// The module that a path leads to, from a module that has it; `None` outside the crate.
    fn find(&self, from: &Module, path: &[String], depth: usize) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        let mut at = match first.as_str() {
            "crate" => Module::new(),
            name if name == self.name => Module::new(),
            "self" => from.clone(),
            "super" => from[..from.len().checked_sub(1)?].to_vec(),
            name => {
                let inner = [&from[..], &[name.to_owned()]].concat();
                self.modules.get(&inner)?;
                inner
            }
        };
        for (idx, name) in rest.iter().enumerate() {
            let inner = [&at[..], std::slice::from_ref(name)].concat();
            if name == "super" {
                at.pop();
            } else if self.modules.contains_key(&inner) {
                at = inner;
            } else {
                let behind = self.behind(&at, name, &rest[idx + 1..], depth);
                return Some(behind.unwrap_or(at));
            }
        }
        Some(at)
    }

    /// The module behind a name that another one hands on.
    fn behind(&self, at: &Module, name: &str, rest: &[String], depth: usize) -> Option<Module> {
        let exports = &self.modules.get(at)?.exports;
        let of_name = exports.iter().find(|(own, _)| own == name);
        let (_, path) = of_name.filter(|_| depth < 8)?;
        let path = [path, rest].concat();
        // A name that is handed on from a file beside is written without `self::`.
        self.find(at, &path, depth + 1)
    }

    /// Which children of each module know which, by an example.
    fn edges(&self) -> BTreeMap<Module, BTreeMap<(String, String), String>> {
        let mut edges: BTreeMap<Module, BTreeMap<(String, String), String>> = BTreeMap::new();
        for (from, source) in &self.modules {
            for path in &source.paths {
                let Some(to) = self.find(from, path, 0) else {
                    continue;
                };
                let n_common = from
                    .iter()
                    .zip(&to)
                    .take_while(|(one, other)| one == other)
                    .count();
                if let (Some(one), Some(other)) = (from.get(n_common), to.get(n_common)) {
                    let example = format!("{}: {}", from.join("/"), path.join("::"));
                    let of = edges.entry(from[..n_common].to_vec()).or_default();
                    of.entry((one.clone(), other.clone())).or_insert(example);
                }
            }
        }
        edges
    }
}

/// The pairs that lie on a circle.
fn circles(edges: &BTreeMap<(String, String), String>) -> Vec<&String> {
    let reaches = |from: &str, to: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from]);
        while let Some(at) = next.pop() {
            for (_, other) in edges.keys().filter(|(one, _)| one == at) {
                if other == to {
                    return true;
                }
                if seen.insert(other) {
                    next.push(other);
                }
            }
        }
        false
    };
    let on_circle = edges.iter().filter(|((one, other), _)| reaches(other, one));
    on_circle.map(|(_, example)| example).collect()
}

#[test]
fn no_module_knows_one_that_knows_it() {
    let mut found = Vec::new();
    for name in CRATES {
        let of_crate = Crate::read(name);
        let edges = of_crate.edges();
        assert!(
            !edges.is_empty() || name == "kernels",
            "{name}: no module knows another"
        );
        for (folder, edges) in &edges {
            for example in circles(edges) {
                found.push(format!("{name}/src, in /{}: {example}", folder.join("/")));
            }
        }
    }
    assert!(
        found.is_empty(),
        "circles of imports:\n{}",
        found.join("\n")
    );
}

#[test]
fn circles_are_found_where_they_are() {
    let edge =
        |one: &str, other: &str| ((one.to_owned(), other.to_owned()), format!("{one}>{other}"));
    let line = BTreeMap::from([edge("a", "b"), edge("b", "c"), edge("a", "c")]);
    assert!(circles(&line).is_empty());
    let ring = BTreeMap::from([
        edge("a", "b"),
        edge("b", "c"),
        edge("c", "b"),
        edge("a", "c"),
    ]);
    assert_eq!(circles(&ring), ["b>c", "c>b"]);
}
