//! `cargo xtask dist`: what is given to others.

use std::{
    env::consts::EXE_SUFFIX,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};

use crate::{
    cmd::page,
    shell::{self, Progress, Shell},
};

/// The program that makes the wheel.
const MATURIN: &str = "maturin>=1.9,<2";

/// Builds one stripped program with the page inside, a Python wheel that holds just this program,
/// and the page as a folder for a static host.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder that they are written into
    #[arg(long, value_name = "FOLDER", default_value = "target/dist")]
    out: PathBuf,
    /// Leave out the wheel, which needs Python
    #[arg(long)]
    no_wheel: bool,
}

/// Builds them.
///
/// # Errors
/// - if a build fails, or the wheel's maker is missing and pip cannot install it
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { out, no_wheel } = args;
    let out = shell::root()?.join(out);
    fs::create_dir_all(&out).with_context(|| format!("creating {}", out.display()))?;
    // The program takes the page from `dist`.
    page::into("dist".as_ref(), Progress::Shown)?;
    page::into(&out.join("page"), Progress::Shown)?;
    let program = program()?;
    let name = program.file_name().context("the program has no name")?;
    let copy = out.join(name);
    fs::copy(&program, &copy).with_context(|| format!("writing {}", copy.display()))?;
    let n_bytes = fs::metadata(&copy)
        .with_context(|| format!("reading {}", copy.display()))?
        .len();
    let mut made = vec![
        format!("{} ({:.1} MB)", copy.display(), n_bytes as f64 / 1e6),
        format!("{}/", out.join("page").display()),
    ];
    if !no_wheel {
        wheel(&out)?;
        made.push(format!("{}/*.whl", out.display()));
    }
    println!("made:\n  {}", made.join("\n  "));
    Ok(ExitCode::SUCCESS)
}

/// Builds the program; cargo says where it is.
fn program() -> Result<PathBuf> {
    let command = Shell::new(
        "cargo rustc --locked --release -p native-trainer --bin swivel --features page --message-format json-render-diagnostics -- -C strip=symbols",
    );
    let name = format!("swivel{EXE_SUFFIX}");
    let [program] = shell::built(&command, Progress::Shown, [name.as_str()])?;
    Ok(program)
}

/// Builds the wheel with maturin, in a Python environment beside it where there is none on PATH.
fn wheel(out: &Path) -> Result<()> {
    let mut maturin = PathBuf::from("maturin");
    if Shell::new("maturin --version").output().is_none() {
        let environment = out.join("maturin");
        let bin = environment.join(if cfg!(windows) { "Scripts" } else { "bin" });
        maturin = bin.join("maturin");
        if !maturin.is_file() {
            let by_hand = "put maturin on PATH, or use --no-wheel";
            Shell::new("python3 -m venv")
                .argument(environment.display().to_string())
                .run()
                .context(by_hand)?;
            Shell::program(&bin.join("pip"))
                .argument("install")
                .argument(MATURIN)
                .run()
                .context(by_hand)?;
        }
    }
    Shell::program(&maturin)
        .argument("build")
        .argument("--release")
        .argument("--locked")
        .argument("--manifest-path")
        .argument("native-trainer/Cargo.toml")
        .argument("--out")
        .argument(out.display().to_string())
        .run()
}
