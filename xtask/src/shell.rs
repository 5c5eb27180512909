//! Running other programs from the root of the checkout.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

/// A command line that runs from the root of the checkout and reads nothing from standard input.
pub struct Shell {
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Shell {
    /// The program and its arguments, separated by spaces; no quoting.
    /// [`Shell::argument`] adds one that may hold spaces.
    pub fn new(line: &str) -> Shell {
        Shell {
            words: line.split_whitespace().map(str::to_owned).collect(),
            variables: Vec::new(),
        }
    }

    /// A program by its path, which may hold spaces.
    pub fn program(path: &Path) -> Shell {
        Shell::new("").argument(path.display().to_string())
    }

    /// Adds an argument.
    pub fn argument(mut self, word: impl Into<String>) -> Shell {
        self.words.push(word.into());
        self
    }

    /// Adds an environment variable.
    pub fn variable(mut self, name: &'static str, value: &str) -> Shell {
        self.variables.push((name, value.to_owned()));
        self
    }

    /// Runs with this process' standard output and standard error.
    ///
    /// # Errors
    /// - if the program cannot be started; a status other than 0 is no error here
    pub fn status(&self) -> Result<ExitStatus> {
        self.command()?
            .status()
            .with_context(|| format!("cannot start `{self}`"))
    }

    /// Runs like [`Shell::status`].
    ///
    /// # Errors
    /// - if the program cannot be started or ends with a status other than 0
    pub fn run(&self) -> Result<()> {
        let status = self.status()?;
        ensure!(status.success(), "`{self}` ended with {status}");
        Ok(())
    }

    /// Runs with this process' standard output; what the program wrote to standard error, if it failed.
    ///
    /// # Errors
    /// - if the program cannot be started
    pub fn complaint(&self) -> Result<Option<String>> {
        let output = self
            .command()?
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .output()
            .with_context(|| format!("cannot start `{self}`"))?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok((!output.status.success()).then_some(text))
    }

    /// What the program wrote to standard output, trimmed; `None` if it cannot be started or fails.
    pub fn output(&self) -> Option<String> {
        let output = self.command().ok()?.output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    }

    fn command(&self) -> Result<Command> {
        let (program, arguments) = self.words.split_first().context("empty command line")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(root()?)
            .stdin(Stdio::null());
        // `cargo run` describes xtask in these. A build script that watches them would run again after every
        // build that xtask did not start, and the crates above it with it.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| {
                name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
            }) {
                command.env_remove(name);
            }
        }
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

impl fmt::Display for Shell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.variables {
            write!(f, "{name}=\"{value}\" ")?;
        }
        f.write_str(&self.words.join(" "))
    }
}

/// What people see of a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// All that cargo says.
    Shown,
    /// What cargo said, if it fails: another build is shown at the same time.
    IfItFails,
}

/// Runs a `cargo build --message-format json-render-diagnostics` and gives the files of what it built last that have this name.
///
/// # Errors
/// - if the build fails, or names no such file
pub fn built<const N: usize>(
    cargo: &Shell,
    progress: Progress,
    names: [&str; N],
) -> Result<[PathBuf; N]> {
    let mut command = cargo.command()?;
    if progress == Progress::Shown {
        command.stderr(Stdio::inherit());
    }
    let output = command
        .output()
        .with_context(|| format!("cannot start `{cargo}`"))?;
    if !output.status.success() {
        eprint!("{}", String::from_utf8_lossy(&output.stderr));
        bail!("`{cargo}` ended with {}", output.status);
    }
    let mut found = [const { PathBuf::new() }; N];
    for line in output.stdout.split(|byte| *byte == b'\n') {
        let Ok(message) = serde_json::from_slice::<serde_json::Value>(line) else {
            continue; // a line that is not cargo's
        };
        let files = message["filenames"].as_array().into_iter().flatten();
        for path in files.filter_map(|file| file.as_str().map(PathBuf::from)) {
            let is_called = |name: &&str| path.file_name().is_some_and(|own| own == *name);
            if let Some(idx) = names.iter().position(is_called) {
                found[idx] = path;
            }
        }
    }
    let is_missing = |path: &PathBuf| path.as_os_str().is_empty();
    match found.iter().position(is_missing) {
        Some(idx) => bail!("`{cargo}` built no {}", names[idx]),
        None => Ok(found),
    }
}

/// The root of the checkout that `cargo xtask` was called in.
///
/// # Errors
/// - if xtask was not started by cargo
pub fn root() -> Result<PathBuf> {
    let manifest_dir =
        env::var_os("CARGO_MANIFEST_DIR").context("not started by cargo: use `cargo xtask`")?;
    let mut root = PathBuf::from(manifest_dir);
    root.pop();
    Ok(root)
}
