//! One Chromium with a fresh profile, driven through chromedriver; nothing of it stays.

use std::{
    env,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use tempfile::TempDir;
use thirtyfour::{
    CapabilitiesHelper, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel,
    WebDriver,
};
use tokio::{runtime, time};

/// How long a script of a test may run, and a little more for the answer to arrive.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(150);

/// How long Chromium may take to end before it is killed.
const QUIT_TIMEOUT: Duration = Duration::from_secs(10);

const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    // Containers have little shared memory.
    "--disable-dev-shm-usage",
    // The page must do without any other host.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
];

/// Chromium's adapter that computes on the CPU.
const WEBGPU_FLAGS: [&str; 2] = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/// One browser after the other: they share few cores, and some tests measure time.
static TURN: Mutex<()> = Mutex::new(());

/// Whether the browser has WebGPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// No adapter.
    Off,
    /// An adapter that computes on the CPU, about a hundredth as fast as wasm.
    Software,
}

/// A Chromium of one test, alone on the machine until it is dropped, also by a panic.
///
/// `$CHROMEDRIVER` names the driver, by default `chromedriver`;
/// `$CHROME` names the browser, by default what the driver finds.
#[derive(Debug)]
pub struct Browser {
    session: Option<WebDriver>,
    pid: Option<u64>,
    runtime: runtime::Runtime,
    // Dropped in this order, after the session has ended.
    _chromedriver: Chromedriver,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Browser {
    /// Waits for its turn and starts a browser.
    ///
    /// # Panics
    /// - if chromedriver or Chromium is missing or does not start
    #[track_caller]
    #[must_use]
    pub fn start(gpu: Gpu) -> Browser {
        Browser::try_start(gpu).unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn try_start(gpu: Gpu) -> Result<Browser> {
        // A test that failed has left nothing half done.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new()
            .prefix("swivel-e2e-")
            .tempdir()
            .context("no folder for the browser")?;
        let chromedriver = Chromedriver::start(folder.path())?;

        let mut capabilities = DesiredCapabilities::chrome();
        for flag in FLAGS {
            capabilities.add_arg(flag)?;
        }
        if gpu == Gpu::Software {
            for flag in WEBGPU_FLAGS {
                capabilities.add_arg(flag)?;
            }
        }
        let profile = folder.path().join("profile");
        capabilities.add_arg(&format!("--user-data-dir={}", profile.display()))?;
        if let Some(chrome) = env::var_os("CHROME") {
            let chrome = chrome.to_str().context("CHROME is not UTF-8")?;
            capabilities.set_binary(chrome)?;
        }
        capabilities.set_browser_log_level(LoggingPrefsLogLevel::All)?;
        capabilities.set(
            "timeouts",
            serde_json::json!({ "script": SCRIPT_TIMEOUT.as_millis() }),
        )?;

        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime")?;
        let url = format!("http://127.0.0.1:{}", chromedriver.port);
        let connect = async {
            WebDriver::builder(url, capabilities)
                .request_timeout(REQUEST_TIMEOUT)
                .connect()
                .await
        };
        let session = runtime
            .block_on(connect)
            .context("chromedriver could not start Chromium; CHROME can name another")?;
        let pid = session.capabilities().get("goog:processID");
        Ok(Browser {
            pid: pid.and_then(serde_json::Value::as_u64),
            session: Some(session),
            runtime,
            _chromedriver: chromedriver,
            _folder: folder,
            _turn: turn,
        })
    }

    /// Runs one command of the session to its end.
    pub(crate) fn run<'a, T, E: Into<anyhow::Error>>(
        &'a self,
        command: impl AsyncFnOnce(&'a WebDriver) -> Result<T, E>,
    ) -> Result<T> {
        let session = self.session.as_ref().context("the browser is gone")?;
        self.runtime.block_on(command(session)).map_err(Into::into)
    }

    /// Bytes of memory that the browser's processes hold, what they share counted once; `None` where the system does not say.
    #[must_use]
    pub fn memory_bytes(&self) -> Option<u64> {
        let mut processes = vec![self.pid?];
        let all: Vec<(u64, u64)> = std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| {
                let pid = entry.file_name().to_str()?.parse().ok()?;
                Some((pid, parent(pid)?))
            })
            .collect();
        let mut at = 0;
        while let Some(pid) = processes.get(at).copied() {
            processes.extend(all.iter().filter(|own| own.1 == pid).map(|own| own.0));
            at += 1;
        }
        Some(processes.into_iter().filter_map(held).sum())
    }
}

fn parent(pid: u64) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before may have spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// A process' share of the memory that it uses, bytes.
fn held(pid: u64) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

impl Drop for Browser {
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let quit = async { time::timeout(QUIT_TIMEOUT, session.quit()).await };
        if !matches!(self.runtime.block_on(quit), Ok(Ok(())))
            && let Some(pid) = self.pid
        {
            // A browser that has ended meanwhile is what is wished.
            #[cfg(unix)]
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid as i32),
                nix::sys::signal::SIGKILL,
            );
        }
    }
}

/// The process between the tests and the browser, on a port that the system chose.
#[derive(Debug)]
struct Chromedriver {
    process: Child,
    port: u16,
}

impl Chromedriver {
    /// `folder` takes what the driver and its browser leave behind.
    fn start(folder: &Path) -> Result<Chromedriver> {
        let program = env::var_os("CHROMEDRIVER").unwrap_or_else(|| "chromedriver".into());
        let mut process = Command::new(&program)
            .arg("--port=0")
            .env("TMPDIR", folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| {
                format!(
                    "cannot start {}: `cargo xtask setup` installs it where it can, CHROMEDRIVER can name another",
                    program.display()
                )
            })?;
        let stdout = process.stdout.take();
        let mut started = Chromedriver { process, port: 0 };
        let mut lines = BufReader::new(stdout.context("no standard output")?).lines();
        started.port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| port(&line))
            .ok_or_else(|| anyhow!("{} ended without a port", program.display()))?;
        // Until the process ends, so that it can always write.
        thread::spawn(move || lines.for_each(drop));
        Ok(started)
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The port in `ChromeDriver was started successfully on port 12345.`
fn port(line: &str) -> Option<u16> {
    let (_, rest) = line.split_once("successfully on port ")?;
    rest.trim_end_matches('.').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_is_read_from_the_line_that_has_it() {
        let line = "ChromeDriver was started successfully on port 40123.";
        assert_eq!(port(line), Some(40123));
        assert_eq!(port("Only local connections are allowed."), None);
    }
}
