//! Logits, sites and interventions of every family equal transformers' and pyvene's.
//!
//! `fixtures/make_families.py` and `fixtures/make_pyvene_families.py` wrote what is compared with.

use burn::tensor::{Tensor, TensorData};
use swivel_core::{
    Component, Gpt2, Gpt2Config, Recorder, Site, Weights,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Source, Units},
};

use crate::support::{B, Reference, assert_close, device, fixture};

/// The project promises 1e-4, relative.
const TOLERANCE: f32 = 1e-4;
/// Where the interventions act.
const POSITION: usize = 6;
const HEAD: usize = 0;
/// Positions whose logits the references have.
const KEPT: [usize; 2] = [6, 8];
/// What stands for -inf in the references.
const MASKED: f32 = -1e30;

/// Folders in `fixtures/families`.
const FAMILIES: [&str; 1] = ["gpt2"];

struct Family {
    folder: &'static str,
    config: Gpt2Config,
    model: Gpt2<B>,
}

impl Family {
    fn open(folder: &'static str) -> Self {
        let bytes = |file| fixture(&format!("families/{folder}/{file}"));
        let config = Gpt2Config::from_json(&bytes("config.json")).unwrap();
        let weights = bytes("model.safetensors");
        let weights = Weights::new(&[&weights]).unwrap();
        Self {
            folder,
            model: Gpt2::load(&config, &weights, &device()).unwrap(),
            config,
        }
    }

    fn reference(&self, file: &str) -> Reference {
        Reference::open(&format!("families/{}/{file}.safetensors", self.folder))
    }

    /// Logits of the base run at the kept positions, with one intervention.
    fn intervene(&self, reference: &Reference, site: Site, op: &str) -> Tensor<B, 2> {
        let is_pattern = site.component == Component::AttentionWeight;
        let units = Units {
            rows: None,
            // pyvene changes a head's pattern at every query position.
            positions: (!is_pattern).then(|| vec![POSITION]),
            heads: site.component.is_per_head().then(|| vec![HEAD]),
        };
        let mut recorder = Recorder::new([site]);
        self.model
            .forward(reference.ints("source_ids"), &mut recorder);
        let source = Source::recorded(&recorder, site)
            .unwrap()
            .map(|x| units.select(x), |x| units.select(x));
        let (op, featurizer) = match op {
            "interchange" => (Op::Interchange, Featurizer::Identity),
            "zero" => (Op::Zero, Featurizer::Identity),
            "add" => (Op::Add, Featurizer::Identity),
            "low_rank" => {
                let width = site.component.width(&self.config).unwrap();
                let basis = reference.tensor(&format!("basis.{width}"));
                (Op::Interchange, Featurizer::Subspace(basis))
            }
            other => panic!("unknown operation {other}"),
        };
        let ids = reference.ints::<2>("base_ids");
        let edit = Edit {
            site,
            units,
            intervention: Intervention::new(op, featurizer),
            source,
        };
        let mut editor = Editor::new(&self.config, ids.dims()[1], vec![edit]).unwrap();
        let logits = self.model.forward(ids, &mut editor);
        editor.finish().unwrap();
        kept(logits)
    }
}

/// # Shapes
/// - `logits`: `[1, pos, d_vocab]`; result: `[kept, d_vocab]`
fn kept(logits: Tensor<B, 3>) -> Tensor<B, 2> {
    Units::positions(KEPT).select(logits).squeeze_dim(0)
}

#[test]
fn every_site_of_every_family_equals_transformers() {
    for folder in FAMILIES {
        let family = Family::open(folder);
        let reference = family.reference("reference");
        let sites: Vec<Site> = Component::ALL
            .iter()
            .flat_map(|(component, ..)| (0..family.config.n_layers).map(|l| component.at(l)))
            .filter(|site| site.check(&family.config).is_ok())
            .collect();
        // Beside the ids and the logits a reference has the sites of the model, no more and no fewer.
        assert_eq!(reference.names().len(), sites.len() + 2, "{folder}");

        let mut recorder = Recorder::new(sites.clone());
        let logits = family.model.forward(reference.ints("ids"), &mut recorder);
        assert_close(logits, reference.tensor("logits"), TOLERANCE, folder);
        for site in sites {
            let name = format!("{}.{}", site.layer, site.component);
            let what = format!("{folder} {name}");
            if let Some(found) = recorder.get(site) {
                assert_close(found.clone(), reference.tensor(&name), TOLERANCE, &what);
                continue;
            }
            let found = recorder.get_heads(site).unwrap().clone();
            let expected = reference.floats(&name);
            // Masked scores are compared as such: beside them all others would be nothing.
            let hidden = TensorData::new(
                expected.iter::<f32>().map(|x| x == MASKED).collect(),
                expected.shape.clone(),
            );
            let is_hidden = found.clone().equal_elem(f32::NEG_INFINITY);
            assert_eq!(is_hidden.into_data(), hidden, "{what}");
            let hidden = Tensor::from_data(hidden, &device());
            assert_close(
                found.mask_fill(hidden.clone(), 0.0),
                reference.tensor(&name).mask_fill(hidden, 0.0),
                TOLERANCE,
                &what,
            );
        }
    }
}

#[test]
fn interventions_on_every_family_equal_pyvene() {
    for folder in FAMILIES {
        let family = Family::open(folder);
        // By hand is what pyvene lacks or gets wrong.
        for file in ["pyvene", "by_hand"] {
            let reference = family.reference(file);
            let base = family.model.forward(reference.ints("base_ids"), &mut ());
            assert_close(
                kept(base),
                reference.tensor("base_logits"),
                TOLERANCE,
                folder,
            );
            let names = reference.names();
            let cases = names.iter().filter_map(|name| {
                let parts: Vec<&str> = name.split('.').collect();
                match parts[..] {
                    [layer, component, op] => Some((name, layer, component, op)),
                    _ => None,
                }
            });
            for (name, layer, component, op) in cases {
                let component: Component = component.parse().unwrap();
                let site = component.at(layer.parse().unwrap());
                let logits = family.intervene(&reference, site, op);
                assert_close(
                    logits,
                    reference.tensor(name),
                    TOLERANCE,
                    &format!("{folder} {file} {name}"),
                );
            }
        }
    }
}
