//! The burn side of `bench.py`: one model on one device, called from a page.
#![cfg(target_arch = "wasm32")]

use burn::tensor::{Int, Tensor, TensorData, backend::Backend};
use burn_flex::Flex;
#[cfg(feature = "wgpu")]
use burn_wgpu::{RuntimeOptions, Wgpu, WgpuDevice, graphics::WebGpu, init_setup_async};
use swivel_core::{
    Config, Decoder, Loader, Precision, Weights,
    cone::{CachedRun, Cone},
    metric::{Divergence, Reading},
};
use wasm_bindgen::prelude::*;

/// A model on a device.
#[wasm_bindgen]
pub struct Model {
    on: On,
    d_model: usize,
    base: Option<Base>,
}

/// A run that others resume, and the logits of its last token, `[1, d_vocab]`.
struct Base {
    run: CachedRun<Flex>,
    logits: Tensor<Flex, 2>,
}

enum On {
    Flex(Box<Decoder<Flex>>),
    #[cfg(feature = "wgpu")]
    Wgpu(Box<Decoder<Wgpu>>),
}

/// Prepares panic messages and the GPU; to be awaited once, before [`Model::load`].
#[wasm_bindgen]
pub async fn init(gpu: bool) {
    #[cfg(feature = "wgpu")]
    if gpu {
        init_setup_async::<WebGpu>(&WgpuDevice::default(), RuntimeOptions::default()).await;
    }
    #[cfg(not(feature = "wgpu"))]
    assert!(!gpu, "built without wgpu");
}

fn decoder<B: Backend>(
    config: &Config,
    weights: &[u8],
    precision: Precision,
) -> Result<Decoder<B>, JsError> {
    let weights = Weights::new(&[weights])?;
    let loader = Loader::new(config, weights.stored(), &Default::default())?;
    Ok(weights.load(loader.held_in(precision)?)?)
}

#[wasm_bindgen]
impl Model {
    /// Loads `config.json` and safetensors bytes; with `kernels`, the model computes with our own; with `half`, it holds its matrices
    /// in f16.
    ///
    /// # Errors
    /// - if the weights do not fit the config
    pub fn load(
        gpu: bool,
        kernels: bool,
        half: bool,
        config: &[u8],
        weights: &[u8],
    ) -> Result<Self, JsError> {
        let config = Config::from_json(config)?;
        let precision = match half {
            true => Precision::F16,
            false => Precision::F32,
        };
        let on = match gpu {
            false => {
                let model = decoder(&config, weights, precision)?;
                On::Flex(match kernels {
                    true => model.with_kernels(swivel_kernels::CPU).into(),
                    false => model.into(),
                })
            }
            #[cfg(feature = "wgpu")]
            true => {
                let model = decoder(&config, weights, precision)?;
                On::Wgpu(match kernels {
                    true => model.with_kernels(swivel_kernels::GPU).into(),
                    false => model.into(),
                })
            }
            #[cfg(not(feature = "wgpu"))]
            true => return Err(JsError::new("built without wgpu")),
        };
        Ok(Self {
            on,
            d_model: config.sizes.d_model,
            base: None,
        })
    }

    /// Logits of one prompt, `[pos, d_vocab]` row by row.
    ///
    /// # Errors
    /// - if the device fails
    pub async fn logits(&self, ids: &[i32]) -> Result<Vec<f32>, JsError> {
        match &self.on {
            On::Flex(model) => logits(&**model, ids).await,
            #[cfg(feature = "wgpu")]
            On::Wgpu(model) => logits(&**model, ids).await,
        }
    }

    /// Runs a prompt that [`Model::toggle`] resumes; on the CPU.
    ///
    /// # Errors
    /// - if the model is on another device
    pub fn cache(&mut self, ids: &[i32]) -> Result<(), JsError> {
        let model = self.on_cpu()?;
        let tokens = TensorData::new(ids.to_vec(), [1, ids.len()]);
        let ids = Tensor::<Flex, 2, Int>::from_data(tokens, &Default::default());
        let cone = Cone::whole(model.n_layers(), ids.dims()[1]);
        let run = model.cache_run(ids, &cone);
        let last = run.base_at(model.n_layers(), run.n_tokens() - 1);
        let logits = model.resume(&last, 0, &mut ()).squeeze_dim(1);
        self.base = Some(Base { run, logits });
        Ok(())
    }

    /// What a toggle in a layer at the last token takes: the layers from it on for that token, norm and head, and what the table
    /// of answers reads of the logits of base, intervened and source run.
    ///
    /// # Errors
    /// - if [`Model::cache`] was not called
    pub async fn toggle(&self, layer: usize) -> Result<Vec<f32>, JsError> {
        let model = self.on_cpu()?;
        let base = self
            .base
            .as_ref()
            .ok_or(JsError::new("nothing is cached"))?;
        let cached = base.run.base_at(layer, base.run.n_tokens() - 1);
        let logits: Tensor<Flex, 2> = model.resume(&cached, 0, &mut ()).squeeze_dim(1);
        let (found, plain) = (logits.clone(), base.logits.clone());
        let all = Tensor::cat(vec![plain.clone(), logits, plain.clone()], 0);
        let read = Reading::of(all, 0, 4);
        let kl = Divergence::of(plain, found.unsqueeze_dim(1)).kl(read.log_sum().narrow(0, 1, 1));
        let probabilities = read.probabilities(read.top.logits.clone()).reshape([12]);
        values(Tensor::cat(vec![probabilities, kl.reshape([1])], 0).unsqueeze()).await
    }

    fn on_cpu(&self) -> Result<&Decoder<Flex>, JsError> {
        match &self.on {
            On::Flex(model) => Ok(model),
            #[cfg(feature = "wgpu")]
            On::Wgpu(_) => Err(JsError::new("not on the CPU")),
        }
    }

    /// Output of the first layer's MLP, `[pos, d_model]` row by row.
    ///
    /// # Errors
    /// - if the device fails
    pub async fn mlp(&self, x: &[f32]) -> Result<Vec<f32>, JsError> {
        match &self.on {
            On::Flex(model) => mlp(&**model, x, self.d_model).await,
            #[cfg(feature = "wgpu")]
            On::Wgpu(model) => mlp(&**model, x, self.d_model).await,
        }
    }
}

async fn logits<B: Backend>(model: &Decoder<B>, ids: &[i32]) -> Result<Vec<f32>, JsError> {
    let ids = TensorData::new(ids.to_vec(), [1, ids.len()]);
    let ids = Tensor::<B, 2, Int>::from_data(ids, &Default::default());
    values(model.forward(ids, &mut ())).await
}

async fn mlp<B: Backend>(
    model: &Decoder<B>,
    x: &[f32],
    d_model: usize,
) -> Result<Vec<f32>, JsError> {
    let x = TensorData::new(x.to_vec(), [1, x.len() / d_model, d_model]);
    let x = Tensor::<B, 3>::from_data(x, &Default::default());
    values(model.layers[0].mlp.forward(x, 0, &mut ())).await
}

async fn values<B: Backend>(x: Tensor<B, 3>) -> Result<Vec<f32>, JsError> {
    let data = x.into_data_async().await;
    let data = data.map_err(|error| JsError::new(&format!("{error:?}")))?;
    data.into_vec()
        .map_err(|error| JsError::new(&format!("{error:?}")))
}
