//! A graphics processor.

use std::pin::pin;

use burn::tensor::backend::{Backend, DTypeUsage};
use burn_wgpu::{RuntimeOptions, Wgpu, WgpuDevice, graphics::WebGpu, init_setup_async};
use futures_util::future::{Either, select};
use js_sys::Reflect;
use swivel_core::{Precision, kernel::Kernels};
use swivel_engine::{Engine, Failure, protocol::FromEngine};
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;

use super::{CURRENT, Found, Processor, now, send};
use crate::browser::{error_text, window};

impl Processor for Wgpu {
    async fn find() -> Result<Found<Self>, String> {
        let (adapter, is_software) = in_time(adapter()).await??;
        let device = WgpuDevice::default();
        let setup = in_time(init_setup_async::<WebGpu>(
            &device,
            RuntimeOptions::default(),
        ))
        .await?;
        setup.device.set_device_lost_callback(|reason, message| {
            let text = format!("the graphics device was lost ({reason:?}) {message}");
            send(CURRENT.get(), FromEngine::Died(text));
        });
        let limits = setup.device.limits();
        Ok(Found {
            device,
            adapter,
            is_software,
            largest: limits
                .max_storage_buffer_binding_size
                .min(limits.max_buffer_size),
        })
    }

    fn check_room(_: u64) -> Result<(), String> {
        Ok(()) // no browser says how much there is
    }

    /// Takes the faster of burn's kernels and ours. A software adapter is known to want ours, and takes seconds to measure; burn's
    /// read weights in f16 only where the adapter has such numbers.
    async fn choose_kernels(
        engine: &mut Engine<Self>,
        found: &Found<Self>,
        held: Precision,
    ) -> Result<(), Failure> {
        engine.set_kernels(swivel_kernels::GPU);
        let usage = Self::dtype_usage(&found.device, held.on_device());
        if found.is_software || !usage.contains(DTypeUsage::Storage) {
            return Ok(());
        }
        let ours = fastest(engine).await?;
        engine.set_kernels(Kernels::default());
        if ours < fastest(engine).await? {
            engine.set_kernels(swivel_kernels::GPU);
        }
        Ok(())
    }
}

/// Waits for a device's answer, but not for ever: where the graphics process has just ended, there may be none.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    const MOST_MS: f64 = 20_000.0;
    let (answer, time) = (pin!(answer), pin!(window::sleep(MOST_MS)));
    match select(answer, time).await {
        Either::Left((answer, _)) => Ok(answer),
        Either::Right(_) => Err("the graphics device does not answer".to_owned()),
    }
}

/// Milliseconds of a run of a usual length, the first one left out: it compiles the kernels.
async fn fastest(engine: &Engine<Wgpu>) -> Result<f64, Failure> {
    const N_TOKENS: usize = 64;
    let mut fastest = f64::INFINITY;
    for turn in 0..4 {
        let start = now();
        engine.rehearse(N_TOKENS).await?;
        if turn > 0 {
            fastest = fastest.min(now() - start);
        }
    }
    Ok(fastest)
}

/// What the WebGPU adapter calls itself, and whether a processor plays it. Asked for before burn does, which cannot say no.
async fn adapter() -> Result<(String, bool), String> {
    let get = |from: &JsValue, name: &str| {
        Reflect::get(from, &JsValue::from_str(name)).unwrap_or(JsValue::UNDEFINED)
    };
    let gpu = get(&get(&js_sys::global(), "navigator"), "gpu");
    if !gpu.is_object() {
        return Err("this browser has no WebGPU".to_owned());
    }
    let request: js_sys::Function = get(&gpu, "requestAdapter")
        .dyn_into()
        .map_err(|_| "this browser has no WebGPU")?;
    let promise = request.call0(&gpu).map_err(|error| error_text(&error))?;
    let adapter = JsFuture::from(js_sys::Promise::from(promise))
        .await
        .map_err(|error| error_text(&error))?;
    if !adapter.is_object() {
        return Err("WebGPU is there, but no graphics adapter".to_owned());
    }
    let info = get(&adapter, "info");
    let text = |name: &str| get(&info, name).as_string().unwrap_or_default();
    let parts: Vec<String> = ["vendor", "architecture", "description"]
        .map(text)
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let name = parts.join(" ");
    let is_fallback = [&info, &adapter]
        .iter()
        .any(|object| get(object, "isFallbackAdapter").as_bool() == Some(true));
    let is_software = is_fallback || name.to_lowercase().contains("swiftshader");
    Ok((name, is_software))
}
