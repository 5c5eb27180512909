//! Running other programs from the root of the checkout.

use std::{
    env, fmt,
    path::PathBuf,
    process::{Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, ensure};

/// A command line that runs from the root of the checkout and reads nothing from standard input.
pub struct Shell {
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
}

impl Shell {
    /// The program and its arguments, separated by spaces; no quoting.
    pub fn new(line: &str) -> Shell {
        Shell {
            words: line.split_whitespace().map(str::to_owned).collect(),
            variables: Vec::new(),
        }
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
        // trunk takes `true` and refuses the customary `1`.
        if env::var_os("NO_COLOR").is_some() {
            command.env("NO_COLOR", "true");
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
