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
#[derive(ClapArgs, Clone, Debug)]
pub struct Args {
    /// Device to serve: auto, flex (the CPU), cuda or wgpu; cuda:1 is the second GPU
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Port to listen on; 0 takes a free one
    #[arg(long, default_value_t = DEFAULT_PORT)]
    port: u16,
    /// Address to listen on; whoever reaches it can use the device, without password or encryption. 0.0.0.0 is every network
    /// of this machine
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
    let host = match address.ip() {
        ip if ip.is_unspecified() => "HOST".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    device::serve(device, listener, |device| {
        report.line(format!(
            "Serving {device}; use it with --device ws://{host}:{}, end with Ctrl-C",
            address.port()
        ));
        report
    })?;
    Ok(ExitCode::SUCCESS)
}
