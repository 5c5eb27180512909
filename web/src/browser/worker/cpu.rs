//! The processor, one thread of it.

use burn_flex::{Flex, FlexDevice};
use swivel_engine::{Engine, Failure};

use super::{Found, Processor};

impl Processor for Flex {
    async fn find() -> Result<Found<Self>, String> {
        Ok(Found {
            device: FlexDevice,
            adapter: "CPU".to_owned(),
            is_software: true,
        })
    }

    async fn choose_kernels(engine: &mut Engine<Self>, _: bool) -> Result<(), Failure> {
        engine.set_kernels(swivel_kernels::CPU);
        Ok(())
    }
}
