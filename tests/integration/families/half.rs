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
    let config = Config::from_json(&file("config.json")).unwrap();
    let weights = file("model.safetensors");
    let stored = Weights::new(&[&weights]).unwrap().stored().to_vec();
    let loader = Loader::new(&config, &stored, &device()).unwrap();
    let mut loader = loader.held_in(precision).unwrap();
    while let Some(wanted) = loader.wants() {
        loader
            .give(&weights[wanted.bytes.start as usize..wanted.bytes.end as usize])
            .unwrap();
    }
    loader.finish().unwrap().0
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
