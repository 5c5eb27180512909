//! `serve`: the page, models, learned directions and native engines, for a browser on this machine.

use std::{io, path::PathBuf, process::ExitCode};

use anyhow::{Context, Error, Result, anyhow};
use clap::Args as ClapArgs;
use serde_json::json;
use tokio::net::TcpListener;

use super::options::ReportArgs;
use crate::{
    device::DeviceChoice,
    serve::{self, Engines, Guard, Offer, Page},
};

/// Where the server listens without `--host`.
const LOCALHOST: &str = "127.0.0.1";

/// Options of `serve`.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Model to offer beside the page's own and those of the Hub's cache: a folder in Hugging Face's layout, a GGUF file, or a
    /// name of the Hub, as OWNER/NAME or OWNER/NAME:FILE.gguf; may be given several times
    #[arg(long = "model", value_name = "MODEL")]
    models: Vec<String>,
    /// Folder of learned directions and maps; what is written there later appears in the open page
    #[arg(long, value_name = "DIR", default_value = "directions")]
    directions: PathBuf,
    /// Folder of the built page [default: the page inside this program, else `dist`]
    #[arg(long, value_name = "DIR")]
    page: Option<PathBuf>,
    /// Device of the engines that the page can use: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Address to listen at, for browsers on other machines; 0.0.0.0 is all of this one. Who knows the printed address gets in,
    /// and nothing is encrypted [default: localhost alone]
    #[arg(long, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Do not open the browser
    #[arg(long)]
    no_open: bool,
    #[command(flatten)]
    report: ReportArgs,
}

/// Runs `serve` until Ctrl-C, which is its end and no failure: status 0.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        models,
        directions,
        page,
        device,
        host,
        port,
        no_open,
        report,
    } = args;
    let report = report.report();
    let page = Page::find(page)?;
    let page_name = page.to_string();
    let directions_name = directions.display().to_string();
    let offer = Offer::new(page, &models, directions)?;
    let models = offer.models();
    let engines = Engines::new(device, offer.computable())?;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the server")?;
    runtime.block_on(async {
        let at = host.as_deref().unwrap_or(LOCALHOST);
        let listener = TcpListener::bind((at, port)).await;
        let listener = listener.map_err(|error| cannot_listen(at, port, error))?;
        let listening = listener.local_addr().context("asking for the port")?;
        let port = listening.port();
        let guard = Guard::new(listening, host.as_deref())?;
        let address = guard.address();
        report.line(format!("Serving {address}, end with Ctrl-C"));
        if guard.is_public() {
            let hint =
                "  from other machines, with this one's name or address; nothing is encrypted";
            report.line(hint);
        }
        report.line(format!("  page        {page_name}"));
        let names = match models.is_empty() {
            true => "none".to_owned(),
            false => models.join(", "),
        };
        report.line(format!("  models      {names}"));
        report.line(format!("  directions  {directions_name}"));
        report.line(format!("  engines on  {}", engines.device()));
        report.event(&json!({
            "event": "serving",
            "address": address,
            "port": port,
            "page": page_name,
            "models": models,
            "directions": directions_name,
            "device": engines.device(),
        }));
        if !no_open {
            open_browser(address);
        }
        serve::run(listener, serve::router(offer, engines, guard)).await;
        Ok(ExitCode::SUCCESS)
    })
}

fn cannot_listen(host: &str, port: u16, error: io::Error) -> Error {
    let remedy = "choose another with --port; --port 0 takes a free one";
    match error.kind() {
        io::ErrorKind::AddrInUse => anyhow!(
            "port {port} is taken by another program, perhaps by another `swivel serve`; end it, or {remedy}"
        ),
        _ if host == LOCALHOST => {
            Error::new(error).context(format!("listening on port {port}; {remedy}"))
        }
        _ => Error::new(error).context(format!(
            "listening at --host {host}, port {port}; it is to be an address of this machine, or 0.0.0.0 for all"
        )),
    }
}

/// Where there is no desktop, or no browser, the address that was printed is enough.
fn open_browser(address: String) {
    // Without a desktop, Linux' opener starts a browser for terminals, in this one.
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let desktops = ["DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME"];
    if !cfg!(target_os = "linux") || desktops.into_iter().any(is_set) {
        std::thread::spawn(move || drop(open::that_detached(address)));
    }
}
