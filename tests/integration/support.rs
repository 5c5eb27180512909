//! The tiny model, the reference files, and comparisons with a stated tolerance.

use std::{fs, path::PathBuf};

use burn::tensor::{Int, Tensor, TensorData};
use safetensors::SafeTensors;
use swivel_core::{Config, Decoder, Sizes, Weights};

pub type B = burn_flex::Flex;

pub fn device() -> burn_flex::FlexDevice {
    burn_flex::FlexDevice
}

pub fn fixture(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn config() -> Config {
    Config::from_json(&fixture("tiny/config.json")).unwrap()
}

pub fn sizes() -> Sizes {
    config().sizes
}

pub fn model() -> Decoder<B> {
    model_of(&["tiny/model.safetensors"])
}

pub fn model_of(files: &[&str]) -> Decoder<B> {
    let files: Vec<Vec<u8>> = files.iter().map(|name| fixture(name)).collect();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    Decoder::load(&config(), &Weights::new(&files).unwrap(), &device()).unwrap()
}

/// The model of a folder of `config.json` and `model.safetensors`.
pub fn model_in(folder: &str) -> (Sizes, Decoder<B>) {
    let file = |file: &str| fixture(&format!("{folder}/{file}"));
    let config = Config::from_json(&file("config.json")).unwrap();
    let weights = file("model.safetensors");
    let weights = Weights::new(&[&weights]).unwrap();
    let model = Decoder::load(&config, &weights, &device()).unwrap();
    (config.sizes, model)
}

/// One file of reference tensors.
pub struct Reference(Vec<u8>);

impl Reference {
    pub fn open(name: &str) -> Self {
        Self(fixture(name))
    }

    pub fn names(&self) -> Vec<String> {
        SafeTensors::deserialize(&self.0)
            .unwrap()
            .names()
            .into_iter()
            .map(String::from)
            .collect()
    }

    fn bytes(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file
            .tensor(name)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        (view.shape().to_vec(), view.data().to_vec())
    }

    pub fn floats(&self, name: &str) -> TensorData {
        let (shape, bytes) = self.bytes(name);
        let values: Vec<f32> = bytes
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        TensorData::new(values, shape)
    }

    pub fn tensor<const D: usize>(&self, name: &str) -> Tensor<B, D> {
        Tensor::from_data(self.floats(name), &device())
    }

    pub fn ints<const D: usize>(&self, name: &str) -> Tensor<B, D, Int> {
        let (shape, bytes) = self.bytes(name);
        let values: Vec<i64> = bytes
            .chunks(8)
            .map(|b| i64::from_le_bytes(b.try_into().unwrap()))
            .collect();
        Tensor::from_data(TensorData::new(values, shape), &device())
    }
}

/// Largest absolute difference, divided by the largest absolute value expected (at least 1).
pub fn difference(found: &TensorData, expected: &TensorData) -> f32 {
    assert_eq!(found.shape, expected.shape);
    let (found, expected) = (
        found.to_vec::<f32>().unwrap(),
        expected.to_vec::<f32>().unwrap(),
    );
    let scale = expected
        .iter()
        .fold(1.0f32, |max, value| max.max(value.abs()));
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    // A NaN must not pass.
    differences.fold(0.0f32, |max, value| {
        if value.is_nan() {
            f32::INFINITY
        } else {
            max.max(value)
        }
    }) / scale
}

#[track_caller]
pub fn assert_close<const D: usize>(
    found: Tensor<B, D>,
    expected: Tensor<B, D>,
    tolerance: f32,
    what: &str,
) {
    let difference = difference(&found.into_data(), &expected.into_data());
    assert!(
        difference <= tolerance,
        "{what}: relative difference {difference:e}, tolerance {tolerance:e}"
    );
}
