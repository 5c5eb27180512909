//! `serve-device`: does the operations of commands that run on other machines.

use std::{
    net::{IpAddr, SocketAddr, TcpListener},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Args as ClapArgs;

use crate::{
    device::{self, DEFAULT_PORT, DeviceChoice},
    report::Report,
};

/// Options of `serve-device`.
///
/// Whoever reaches the address can use the device, and read what he sends; there is no password and no encryption. Files
/// are neither read nor written. Keep the address 127.0.0.1 and forward the port, as `ssh -L` does, where the network is not
/// yours alone.
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Device to serve: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Address to listen on; 0.0.0.0 lets every machine in that reaches this one
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    address: IpAddr,
}

/// Runs `serve-device`.
pub fn run(args: Args) -> Result<ExitCode> {
    let Args {
        device,
        port,
        address,
    } = args;
    let report = Report::Human;
    let address = SocketAddr::new(address, port);
    let listener = TcpListener::bind(address)
        .with_context(|| format!("listening on {address}; choose another with --port"))?;
    let address = listener.local_addr().context("asking for the port")?;
    if !address.ip().is_loopback() {
        report.warn(format!(
            "whoever reaches {address} can use this device: there is no password and no encryption"
        ));
    }
    device::serve(device, listener, |device| {
        report.line(format!(
            "Serving {device}; use it with --device ws://{address}, end with Ctrl-C"
        ));
        report
    })?;
    Ok(ExitCode::SUCCESS)
}
