//! Interventions at every component of every family equal pyvene's, or where pyvene is wrong a forward hook's.

use burn::tensor::Tensor;
use swivel_core::intervention::{Edit, Editor, Featurizer, Intervention, Op, Units};

use super::*;

/// f32 rounding over up to four layers, in another order than torch's.
const TOLERANCE: f32 = 1e-4;
/// Where `make_pyvene_families.py` acts, and where it reads.
const POSITION: usize = 6;
const READ: [i64; 2] = [6, 8];

#[test]
fn every_component_and_operation_equals_pyvene_or_a_hook() {
    let mut n_cases = 0;
    for name in FAMILIES {
        let (sizes, model) = family(name);
        for file in ["pyvene", "by_hand"] {
            let path = format!("families/{name}/{file}.safetensors");
            if file == "pyvene" && ["qwen3", "gemma3_text"].contains(&name) {
                continue; // pyvene 0.1.8 lacks them
            }
            let reference = Reference::open(&path);
            for key in reference.names() {
                let [layer, component, op] = *key.split('.').collect::<Vec<_>>() else {
                    continue; // ids, logits without an intervention, bases
                };
                let component: Component = component.parse().unwrap();
                let site = component.at(layer.parse().unwrap());
                let width = component.width(&sizes);
                let (op, featurizer) = match op {
                    "interchange" => (Op::Interchange, Featurizer::Identity),
                    "zero" => (Op::Zero, Featurizer::Identity),
                    "add" => (Op::Add, Featurizer::Identity),
                    "low_rank" => {
                        let basis = format!("basis.{}", width.unwrap());
                        let basis = reference.tensor(&basis);
                        (Op::Interchange, Featurizer::Subspace(basis))
                    }
                    other => panic!("{other}"),
                };
                let units = Units {
                    rows: None,
                    positions: width.is_some().then(|| vec![POSITION]),
                    heads: component.is_per_head().then(|| vec![0]),
                };
                let mut source = Recorder::new([site]);
                model.forward(reference.ints("source_ids"), &mut source);
                let source = recorded(&source, site)
                    .map(|x| units.select(x.clone()), |x| units.select(x.clone()));
                let intervention = Intervention::new(op, featurizer);
                let edit = Edit {
                    site,
                    units,
                    intervention,
                    source,
                };
                let ids = reference.ints::<2>("base_ids");
                let mut editor = Editor::new(&sizes, ids.dims()[1], vec![edit]).unwrap();
                let logits = model.forward(ids, &mut editor);
                editor.finish().unwrap();
                let read = Tensor::from_data(READ, &device());
                let logits: Tensor<B, 2> = logits.select(1, read).squeeze_dim(0);
                let what = format!("{path} {key}");
                assert_close(logits, reference.tensor(&key), TOLERANCE, &what);
                n_cases += 1;
            }
        }
    }
    assert!(n_cases > 600, "{n_cases} cases");
}
