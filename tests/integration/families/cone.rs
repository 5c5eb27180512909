//! Resumed runs equal full ones at every component, unit and position of every family.

use burn::tensor::{Int, Tensor};
use swivel_core::{
    cone::Cone,
    intervention::{Edit, Editor, Featurizer, Intervention, Op, Units},
};

use super::*;

/// f32 rounding: the same sums, in matrices of another shape.
const TOLERANCE: f32 = 1e-5;

/// The two prompts of a family's reference: the second one is the source.
fn prompts(name: &str) -> [Tensor<B, 2, Int>; 2] {
    let reference = Reference::open(&format!("families/{name}/reference.safetensors"));
    let ids = reference.ints::<2>("ids");
    [0, 1].map(|row| ids.clone().narrow(0, row, 1))
}

#[test]
fn resumed_runs_equal_full_ones_everywhere() {
    for name in FAMILIES {
        let (sizes, model) = family(name);
        let [base, source] = prompts(name);
        let n_tokens = base.dims()[1];
        let sites = sites(&sizes);
        let mut recorder = Recorder::new(sites.iter().copied());
        model.forward(source, &mut recorder);
        let cached = model.cache_run(base.clone(), &Cone::whole(sizes.n_layers, n_tokens));
        let plain = model.forward(base.clone(), &mut ());
        for site in sites {
            for position in 0..n_tokens {
                let heads = site
                    .component
                    .n_heads(&sizes)
                    .map(|n_heads| vec![n_heads - 1]);
                for heads in [None, heads] {
                    let units = Units {
                        rows: None,
                        positions: Some(vec![position]),
                        heads,
                    };
                    let what = format!("{name}: {site}, {units:?}");
                    let source = recorded(&recorder, site)
                        .map(|x| units.select(x.clone()), |x| units.select(x.clone()));
                    let edit = Edit {
                        site,
                        source,
                        units,
                        intervention: Intervention::new(Op::Interchange, Featurizer::Identity),
                    };
                    let editor = Editor::new(&sizes, n_tokens, vec![edit]).unwrap();
                    let (layer, start) = editor.resumes_at(sizes.n_layers).unwrap();
                    let mut full = editor.clone();
                    let expected = model.forward(base.clone(), &mut full);
                    full.finish().unwrap();
                    let mut editor = editor.starting_at(start);
                    let found = model.resume(&cached.base_at(layer, start), 0, &mut editor);
                    editor.finish().unwrap();
                    let rest = n_tokens - start;
                    let end = expected.clone().narrow(1, start, rest);
                    assert_close(found, end, TOLERANCE, &what);
                    // Nothing earlier changes, not in a bit.
                    let before = |x: &Tensor<B, 3>| x.clone().narrow(1, 0, start).into_data();
                    if start > 0 {
                        assert_eq!(before(&expected), before(&plain), "{what}");
                    }
                }
            }
        }
    }
}

/// Keys and values are cached of their own heads: a cone says what it takes.
#[test]
fn a_cone_takes_the_bytes_that_it_says() {
    for name in FAMILIES {
        let (sizes, model) = family(name);
        let [base, _] = prompts(name);
        let n_tokens = base.dims()[1];
        let cone = Cone::whole(sizes.n_layers, n_tokens);
        let said = cone.n_bytes(&sizes, n_tokens, Default::default());
        assert_eq!(model.cache_run(base, &cone).n_bytes(), said, "{name}");
    }
}
