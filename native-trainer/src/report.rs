//! What the program says: words and progress bars to people on stderr, one JSON object a line to programs on stdout.

use std::{io::Write, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

/// Where a command's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Text on stdout, progress on stderr.
    Human,
    /// JSON lines on stdout, text and progress on stderr.
    Json,
}

impl Report {
    /// The one that `--json` asks for.
    pub fn new(is_json: bool) -> Self {
        match is_json {
            true => Self::Json,
            false => Self::Human,
        }
    }

    /// A line for people.
    pub fn line(self, text: impl AsRef<str>) {
        let text = text.as_ref();
        match self {
            Self::Human => write_line(&mut std::io::stdout(), text),
            Self::Json => write_line(&mut std::io::stderr(), text),
        }
    }

    /// An event for programs; people do not see it.
    pub fn event(self, event: &Value) {
        if self == Self::Json {
            write_line(&mut std::io::stdout(), &event.to_string());
        }
    }

    /// A warning, on stderr.
    pub fn warn(self, text: impl AsRef<str>) {
        write_line(
            &mut std::io::stderr(),
            &format!("warning: {}", text.as_ref()),
        );
    }
}

/// A closed pipe (`| head`) is no error of ours.
fn write_line(to: &mut impl Write, text: &str) {
    drop(writeln!(to, "{text}"));
}

/// A progress bar with time left; draws nothing where stderr is no terminal.
pub fn progress(what: &'static str, n_steps: usize) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(n_steps as u64), ProgressDrawTarget::stderr());
    let template = "{msg:>12} {wide_bar:.cyan/black} {pos}/{len} {prefix} {eta} left";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
