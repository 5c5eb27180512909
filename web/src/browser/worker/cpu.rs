//! The processor, one thread of it.

use burn_flex::{Flex, FlexDevice};
use swivel_core::Precision;
use swivel_engine::{Engine, Failure};

use super::{Found, Processor};

/// Bytes of the largest model: what is left of 4 GiB has room for runs, and for a matrix that is being read.
const MOST_BYTES: u64 = 3_300_000_000;

impl Processor for Flex {
    async fn find() -> Result<Found<Self>, String> {
        Ok(Found {
            device: FlexDevice,
            adapter: "CPU".to_owned(),
            is_software: true,
            largest: u64::MAX,
        })
    }

    fn check_room(n_bytes: u64) -> Result<(), String> {
        let gigabytes = |n: u64| n as f64 / 1e9;
        if n_bytes > MOST_BYTES {
            return Err(format!(
                "it takes {:.1} GB of memory, and a page's program has {:.1} GB at most (WebAssembly addresses 4 GiB); `swivel serve` runs it on this machine",
                gigabytes(n_bytes),
                gigabytes(MOST_BYTES)
            ));
        }
        // Memory grows here in one piece, and not bit by bit while the model comes.
        let mut room: Vec<u8> = Vec::new();
        let has_room = room.try_reserve_exact(n_bytes as usize).is_ok();
        match has_room {
            true => Ok(()),
            false => Err(format!(
                "it takes {:.1} GB of memory, and the browser does not give that to this tab; close others, or use `swivel serve`",
                gigabytes(n_bytes)
            )),
        }
    }

    async fn choose_kernels(
        engine: &mut Engine<Self>,
        _: &Found<Self>,
        _: Precision,
    ) -> Result<(), Failure> {
        engine.set_kernels(swivel_kernels::CPU);
        Ok(())
    }
}
