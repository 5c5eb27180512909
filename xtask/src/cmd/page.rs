//! `cargo xtask page`: the web page as a folder for any static host.
//!
//! cargo compiles the program, wasm-bindgen as a library writes the script that loads it. Both are pinned by `Cargo.lock`,
//! so that they cannot differ, and nothing else is needed.

use std::{
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use wasm_bindgen_cli_support::Bindgen;

use crate::{
    cmd::setup::{self, WASM_TARGET},
    shell::{self, Progress, Shell},
};

/// Files that come as they are.
const STATIC: [&str; 3] = ["offline.js", "start.js", "worker.js"];
/// Files of the model that comes with the page.
const SOLVER: [&str; 3] = ["config.json", "model.safetensors", "tokenizer.json"];
/// Set by trunk for its hooks: the folder that it will serve.
const STAGING: &str = "TRUNK_STAGING_DIR";
/// Lets trunk's own script run; the page has none inline.
const NONCE: &str = " 'nonce-c3dpdmVs'";

/// Builds the page into a folder, `dist` by default, which any static host can serve.
///
/// Called by trunk, which names its folder, it builds into that.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder that the page is written into
    #[arg(long, value_name = "FOLDER", default_value = "dist")]
    out: PathBuf,
}

/// Builds the page.
///
/// # Errors
/// - if the standard library for wasm is missing and cannot be added, the program does not compile,
///   or the folder cannot be written
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { out } = args;
    match env::var_os(STAGING).map(PathBuf::from) {
        // trunk has put its own copy of index.html there, with the script that reloads the page.
        Some(staging) => build(&staging.join("index.html"), &staging, Progress::Shown)?,
        None => into(&out, Progress::Shown)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the page into a folder of the checkout.
///
/// # Errors
/// - as [`run`]
pub fn into(out: &Path, progress: Progress) -> Result<()> {
    let root = shell::root()?;
    build(&root.join("web/page/index.html"), &root.join(out), progress)
}

/// Builds the page from a template of `index.html` into a folder; what an earlier build named otherwise goes.
fn build(template: &Path, out: &Path, progress: Progress) -> Result<()> {
    setup::wasm_library()?;
    let started = Instant::now();
    let root = shell::root()?;
    let programs = compile(progress)?;
    let source = root.join("web/page");
    let style = read(&source.join("style.css"))?;
    let html = String::from_utf8(read(template)?).context("index.html is not UTF-8")?;

    // The names change with the content, so that a browser never mixes two builds.
    let [page, webgpu] = &programs;
    let hash = hash_of(&[&read(page)?, &read(webgpu)?, &style]);
    let stem = format!("swivel-{hash:016x}");
    let webgpu_stem = format!("{stem}-webgpu");
    bind(page, &stem, out)?;
    bind(webgpu, &webgpu_stem, out)?;
    let names = Names {
        script: script(&stem),
        module: module(&stem),
        webgpu: script(&webgpu_stem),
        style: format!("{stem}.css"),
    };
    write(&out.join(&names.style), &style)?;
    for file in STATIC {
        write(&out.join(file), &read(&source.join(file))?)?;
    }
    for file in SOLVER {
        let name = Path::new("models/solver").join(file);
        write(&out.join(&name), &read(&root.join(&name))?)?;
    }
    write(&out.join("models/index.json"), b"[\"solver\"]\n")?;
    // A static host computes nothing; `swivel serve` says what it does.
    write(&out.join("engines.json"), b"{}\n")?;
    directions(&root.join("directions"), &out.join("directions"))?;
    // Last, so that whoever reads it finds what it names.
    write(&out.join("index.html"), names.filled_in(&html)?.as_bytes())?;
    remove_older(out, &stem)?;
    let secs = started.elapsed().as_secs_f64();
    eprintln!("page: {} is built, in {secs:.1} s", out.display());
    Ok(())
}

/// Names of files that a build chooses.
struct Names {
    script: String,
    module: String,
    /// Script of the engine on WebGPU, which names its module itself.
    webgpu: String,
    style: String,
}

fn script(stem: &str) -> String {
    format!("{stem}.js")
}

fn module(stem: &str) -> String {
    format!("{stem}_bg.wasm")
}

impl Names {
    /// The template with the names in it, each in its one place.
    fn filled_in(&self, template: &str) -> Result<String> {
        let mut html = template.to_owned();
        if env::var_os(STAGING).is_none() {
            html = html.replace(NONCE, "");
        }
        for (mark, name) in [
            ("\"SCRIPT\"", &self.script),
            ("\"MODULE\"", &self.module),
            ("\"WEBGPU\"", &self.webgpu),
            ("\"STYLE\"", &self.style),
        ] {
            ensure!(
                html.matches(mark).count() == 1,
                "index.html should name {mark} once"
            );
            html = html.replace(mark, &format!("\"{name}\""));
        }
        Ok(html)
    }
}

/// Compiles the programs; cargo says where they are.
fn compile(progress: Progress) -> Result<[PathBuf; 2]> {
    let line = format!(
        "cargo build --locked --profile web -p swivel-web --bins --target {WASM_TARGET} --message-format json-render-diagnostics"
    );
    let names = ["swivel-web.wasm", "swivel-webgpu.wasm"];
    shell::built(&Shell::new(&line), progress, names)
}

/// Writes the script that loads a program, and its module, unless they are there.
fn bind(program: &Path, stem: &str, out: &Path) -> Result<()> {
    let is_there = |name: String| out.join(name).is_file();
    if is_there(script(stem)) && is_there(module(stem)) {
        return Ok(());
    }
    Bindgen::new()
        .input_path(program)
        .out_name(stem)
        .web(true)
        .and_then(|bindgen| bindgen.typescript(false).generate(out))
        .with_context(|| format!("binding {}", program.display()))
}

/// The learned directions and maps, and the list of their names, since a static host lists no folder.
fn directions(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to).with_context(|| format!("emptying {}", to.display()))?;
    }
    let names = learned(from)?;
    for name in &names {
        write(&to.join(name), &read(&from.join(name))?)?;
    }
    let list = serde_json::to_string(&names).context("writing the list of directions")?;
    write(&to.join("index.json"), format!("{list}\n").as_bytes())
}

/// Names of the learned directions and maps in a folder, sorted; none where there is no folder.
///
/// # Errors
/// - if the folder cannot be read
pub fn learned(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = names_in(folder)?;
    names.retain(|name| name.ends_with(".safetensors") && !name.starts_with('.'));
    names.sort();
    Ok(names)
}

/// Whether two folders of the checkout hold the same page; `index.html` may differ, since trunk adds its own script.
///
/// # Errors
/// - if a file is missing in one of them, or differs
pub fn check_same(ours: &Path, theirs: &Path) -> Result<()> {
    let root = shell::root()?;
    let [ours, theirs] = [root.join(ours), root.join(theirs)];
    let [mut names, mut found] = [names_in(&ours)?, names_in(&theirs)?];
    names.sort();
    found.sort();
    ensure!(
        names == found,
        "expected the files {names:?}, found {found:?}"
    );
    for name in names.iter().filter(|name| *name != "index.html") {
        let [ours, theirs] = [ours.join(name), theirs.join(name)];
        if ours.is_file() {
            ensure!(
                read(&ours)? == read(&theirs)?,
                "{} differs from {}",
                theirs.display(),
                ours.display()
            );
        }
    }
    Ok(())
}

/// Removes scripts, modules and styles of other builds.
fn remove_older(out: &Path, stem: &str) -> Result<()> {
    let mut names = names_in(out)?;
    names.retain(|name| {
        let is_built = name.starts_with("swivel-")
            && [".js", ".wasm", ".css"]
                .iter()
                .any(|ending| name.ends_with(ending));
        is_built && !name.starts_with(stem)
    });
    for name in names {
        let path = out.join(name);
        fs::remove_file(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let names = entries
        .flatten()
        .map(|entry| entry.file_name().into_string());
    Ok(names.flatten().collect())
}

fn hash_of(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a file and the folders above it.
fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../web/page/index.html");

    #[test]
    fn the_built_page_names_its_files_and_allows_no_inline_script() {
        let names = Names {
            script: "a.js".to_owned(),
            module: "a_bg.wasm".to_owned(),
            webgpu: "b.js".to_owned(),
            style: "a.css".to_owned(),
        };
        let html = names.filled_in(PAGE).unwrap();
        for name in ["\"a.js\"", "\"a_bg.wasm\"", "\"b.js\"", "\"a.css\""] {
            assert!(html.contains(name), "{name} is not in\n{html}");
        }
        assert!(PAGE.contains(NONCE) && !html.contains("nonce-"), "{html}");
        assert!(names.filled_in("<p>no names").is_err());
    }

    #[test]
    fn files_of_older_builds_go_and_others_stay() {
        let folder = std::env::temp_dir().join(format!("swivel-page-{}", std::process::id()));
        for name in [
            "swivel-1.js",
            "swivel-2.js",
            "swivel-2_bg.wasm",
            "notes.css",
        ] {
            write(&folder.join(name), b"").unwrap();
        }
        remove_older(&folder, "swivel-2").unwrap();
        let mut names = names_in(&folder).unwrap();
        names.sort();
        fs::remove_dir_all(&folder).unwrap();
        assert_eq!(names, ["notes.css", "swivel-2.js", "swivel-2_bg.wasm"]);
    }
}
