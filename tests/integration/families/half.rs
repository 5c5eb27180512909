//! Matrices in half precision: what rounding changes, and no more.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{DType, Tensor, TensorData},
};
use swivel_core::{Loader, Precision};

use super::*;
use crate::support::difference;

fn held_in(name: &str, precision: Precision) -> Decoder<B> {
    let file = |file: &str| fixture(&format!("families/{name}/{file}"));
    let files = [file("config.json"), file("model.safetensors")];
    load(files, |loader| loader.held_in(precision).unwrap())
}

fn load([config, weights]: [Vec<u8>; 2], how: impl FnOnce(Loader<B>) -> Loader<B>) -> Decoder<B> {
    let config = Config::from_json(&config).unwrap();
    let weights = Weights::new(&[&weights]).unwrap();
    let loader = Loader::new(&config, weights.stored(), &device()).unwrap();
    weights.load(how(loader)).unwrap()
}

/// Rounds matrices, and holds them in f32 again.
struct Round(Precision);

impl ModuleMapper<B> for Round {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let rounded = |values: Tensor<B, D>| {
            let (shape, data) = (values.shape(), values.into_data());
            let bytes = self.0.to_bytes(&data.to_vec::<f32>().unwrap());
            let data = TensorData::new(self.0.dtype().to_f32(&bytes), shape);
            Tensor::from_data(data, &device())
        };
        match D {
            2 => param.map(rounded),
            _ => param,
        }
    }
}

#[test]
fn half_precision_rounds_the_matrices_alone() {
    for name in FAMILIES {
        let reference = Reference::open(&format!("families/{name}/reference.safetensors"));
        for (precision, tolerance) in [(Precision::F16, 5e-3), (Precision::BF16, 4e-2)] {
            let model = held_in(name, precision);
            assert_eq!(model.head_weight().dtype(), precision.on_device(), "{name}");
            let logits = |model: &Decoder<B>| model.forward(reference.ints("ids"), &mut ());
            let found = logits(&model);
            assert_eq!(found.dtype(), DType::F32);
            let (_, exact) = family(name);
            let rounded = exact.clone().map(&mut Round(precision));
            assert_close(found.clone(), logits(&rounded), 1e-5, name);
            let off = difference(&found.into_data(), &logits(&exact).into_data());
            assert!(0.0 < off && off < tolerance, "{name} {precision:?}: {off}");
        }
    }
}

/// What is stored in 16 bits is held so, and answers as before; what is stored in 32 bits is not.
#[test]
fn half_precision_of_stored_weights_loses_nothing() {
    let solver = || {
        let config = include_bytes!("../../../models/solver/config.json");
        let weights = include_bytes!("../../../models/solver/model.safetensors");
        [config.to_vec(), weights.to_vec()]
    };
    let half = load(solver(), |loader| {
        let loader = loader.in_half_if_stored();
        assert_eq!(loader.precision(), Precision::F16);
        loader
    });
    assert_eq!(half.head_weight().dtype(), DType::F16);
    let single = load(solver(), |loader| loader);
    let ids = Tensor::from_data([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3]], &device());
    let [half, single] = [half, single].map(|model| model.forward(ids.clone(), &mut ()));
    assert_close(half, single, 1e-6, "solver");

    let file = |file: &str| fixture(&format!("families/gpt2/{file}"));
    let files = [file("config.json"), file("model.safetensors")];
    let model = load(files, Loader::in_half_if_stored);
    assert_eq!(model.head_weight().dtype(), DType::F32);
}
