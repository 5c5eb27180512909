//! Where a model can run, and what is known of each place.

use serde::{Deserialize, Serialize};

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Device {
    /// The processor, by wasm.
    Cpu,
    /// A graphics processor, by WebGPU.
    WebGpu,
    /// Whatever the program computes on that serves the page.
    Machine,
}

impl Device {
    /// All of them.
    const ALL: [Self; 3] = [Self::Cpu, Self::WebGpu, Self::Machine];

    /// Its name in addresses and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::WebGpu => "webgpu",
            Self::Machine => "machine",
        }
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|device| device.name() == name)
    }
}

/// What is known of a device.
#[derive(Clone, Debug, PartialEq)]
pub enum DeviceState {
    /// Nothing yet.
    Untried,
    /// It is being tested.
    Testing,
    /// It cannot be used, and why.
    Unavailable(String),
    /// It computes; largest error against the reference in nats where there is one, milliseconds for a new pair of prompts.
    Ready {
        /// What it calls itself.
        adapter: String,
        /// Nats.
        error: Option<f32>,
        /// Milliseconds.
        ms: Option<f64>,
    },
}

impl DeviceState {
    /// It computes; nothing was measured.
    pub fn ready(adapter: String) -> Self {
        Self::Ready {
            adapter,
            error: None,
            ms: None,
        }
    }
}

/// Devices, the one in use, and the person's wish.
#[derive(Clone, Debug, PartialEq)]
pub struct Devices {
    /// The one in use.
    pub current: Device,
    /// The person's wish; `None` leaves it to the measurement.
    pub wish: Option<Device>,
    /// CPU.
    pub cpu: DeviceState,
    /// WebGPU.
    pub web_gpu: DeviceState,
    /// The program that serves the page, where it offers to compute the model of the page.
    pub machine: Option<DeviceState>,
}

impl Devices {
    /// Before any was tried.
    pub fn untried(wish: Option<Device>) -> Self {
        Self {
            current: Device::Cpu,
            wish,
            cpu: DeviceState::Untried,
            web_gpu: DeviceState::Untried,
            machine: None,
        }
    }

    /// The one in use failed, and why: the CPU takes its place, as if that had been wished for.
    pub fn fall_back(&mut self, cause: &str) {
        let failed = DeviceState::Unavailable(cause.to_owned());
        match self.current {
            Device::Cpu => self.cpu = failed,
            Device::WebGpu => self.web_gpu = failed,
            Device::Machine => self.machine = Some(failed),
        }
        self.current = Device::Cpu;
        self.wish = Some(Device::Cpu);
    }

    /// What is known of the one in use.
    pub fn state(&self) -> Option<&DeviceState> {
        match self.current {
            Device::Cpu => Some(&self.cpu),
            Device::WebGpu => Some(&self.web_gpu),
            Device::Machine => self.machine.as_ref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_their_names() {
        for device in Device::ALL {
            assert_eq!(Device::named(device.name()), Some(device));
        }
        assert_eq!(Device::named("auto"), None);
    }

    #[test]
    fn what_failed_is_followed_by_the_cpu() {
        let mut devices = Devices::untried(None);
        devices.current = Device::WebGpu;
        devices.fall_back("lost");
        assert_eq!(devices.web_gpu, DeviceState::Unavailable("lost".to_owned()));
        assert_eq!(
            (devices.current, devices.wish),
            (Device::Cpu, Some(Device::Cpu))
        );
        assert_eq!(devices.state(), Some(&DeviceState::Untried));
    }
}
