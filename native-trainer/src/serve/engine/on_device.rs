//! An engine on a device.

use std::{
    sync::{Mutex, PoisonError},
    time::Instant,
};

use anyhow::Result;
use burn::tensor::backend::{AutodiffBackend, Backend};
use futures_executor::block_on;
use swivel_engine::{
    Engine, Failure, Limits,
    protocol::{Cost, FromEngine, Request, Response},
};
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

use super::host::Native;
use crate::{
    device::{self, DeviceChoice, Job, is_software},
    model_files::ModelFiles,
    report::Report,
};

/// What is kept for all tabs.
const LIMITS: Limits = Limits {
    n_runs: 256,
    n_bytes: 1 << 30,
};

/// How an engine is made.
pub struct Make {
    /// What is opened.
    pub model: String,
    /// Where it runs.
    pub device: DeviceChoice,
}

impl Make {
    /// Puts the model on the device.
    ///
    /// # Errors
    /// - If the files hold no model, or the device does not answer.
    pub fn engine(&self) -> Result<Box<dyn Native>> {
        // One after the other: while a device is tried, no panic of this program is shown.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
        let files = ModelFiles::open(&self.model)?;
        device::run(self.device.clone(), Load { files })
    }
}

struct Load {
    files: ModelFiles,
}

impl Job for Load {
    type Output = Box<dyn Native>;

    fn run<A: AutodiffBackend>(self, device: A::Device, name: &str) -> Result<Box<dyn Native>> {
        let (model, sha256) = self.files.load::<A::InnerBackend>(&device, Report::Json)?;
        Ok(Box::new(OnDevice {
            engine: Engine::new(self.files.sizes().clone(), model, LIMITS),
            sha256,
            device: name.to_owned(),
            memory: Memory::new(),
        }))
    }
}

struct OnDevice<B: Backend> {
    engine: Engine<B>,
    sha256: String,
    device: String,
    memory: Memory,
}

impl<B: Backend> Native for OnDevice<B> {
    fn sha256(&self) -> &str {
        &self.sha256
    }

    fn loaded(&self) -> FromEngine {
        FromEngine::Loaded {
            sha256: self.sha256.clone(),
            adapter: self.device.clone(),
            is_software: is_software(&self.device),
        }
    }

    fn take_direction(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.engine.take_direction(bytes).map(drop)
    }

    fn is_well(&self) -> bool {
        block_on(self.engine.rehearse(1)).is_ok()
    }

    fn answer(
        &mut self,
        tab: u32,
        request: &Request,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(Response, Cost), Failure> {
        let start = Instant::now();
        let response = block_on(self.engine.handle(tab, request, &async || is_wanted()))?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        let bytes = self.memory.n_bytes() as f64;
        Ok((response, Cost { ms, bytes }))
    }

    fn forget(&mut self, tab: u32) {
        self.engine.forget(tab);
    }
}

/// The memory of this program.
struct Memory {
    system: System,
    process: Pid,
}

impl Memory {
    fn new() -> Self {
        Self {
            system: System::new(),
            process: Pid::from_u32(std::process::id()),
        }
    }

    fn n_bytes(&mut self) -> u64 {
        let what = ProcessRefreshKind::nothing().with_memory().without_tasks();
        let which = ProcessesToUpdate::Some(&[self.process]);
        self.system.refresh_processes_specifics(which, false, what);
        self.system
            .process(self.process)
            .map_or(0, |own| own.memory())
    }
}
