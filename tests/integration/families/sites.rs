//! Logits and the value at every site equal transformers'.

use super::*;
use crate::weight_files::header;

/// f32 rounding over up to four layers; the project promises 1e-4.
const TOLERANCE: f32 = 1e-4;

/// Llama 3.1's rotations, which this format has as factors of single pairs, and queries' and keys' rows in its own order.
#[test]
fn gguf_of_llama_3_gives_transformers_logits() {
    let reference = Reference::open("families/llama3/reference.safetensors");
    let file = fixture("llama3.gguf");
    let stored = header(&file).unwrap();
    let config = Config::from_gguf(&stored).unwrap();
    let weights = Weights::with_headers(&[&file], vec![stored]);
    let model = Decoder::<B>::load(&config, &weights, &device()).unwrap();
    let logits = model.forward(reference.ints("ids"), &mut ());
    assert_close(logits, reference.tensor("logits"), TOLERANCE, "logits");
}

#[test]
fn logits_and_every_site_equal_transformers() {
    for name in FAMILIES {
        let reference = Reference::open(&format!("families/{name}/reference.safetensors"));
        let (sizes, model) = family(name);
        let sites = sites(&sizes);
        let mut recorder = Recorder::new(sites.iter().copied());
        let logits = model.forward(reference.ints("ids"), &mut recorder);
        let names = reference.names().into_iter();
        let n_sites = names.filter(|name| name.contains('.')).count();
        assert_eq!(n_sites, sites.len(), "{name}: sites");
        for site in sites {
            let key = format!("{}.{}", site.layer, site.component);
            let what = format!("{name} {key}");
            match recorded(&recorder, site) {
                Source::Positions(found) => {
                    assert_close(found, reference.tensor(&key), TOLERANCE, &what);
                }
                Source::Heads(found) if site.component == Component::AttentionScore => {
                    // Hidden scores are written as numbers there; next to these any other would be nothing.
                    let expected = reference.tensor::<4>(&key);
                    let is_hidden = expected.clone().lower_elem(-1e29);
                    assert_eq!(
                        found.clone().is_inf().into_data(),
                        is_hidden.clone().into_data(),
                        "{what}: hidden keys"
                    );
                    let [found, expected] =
                        [found, expected].map(|x| x.mask_fill(is_hidden.clone(), 0.0));
                    assert_close(found, expected, TOLERANCE, &what);
                }
                Source::Heads(found) => {
                    assert_close(found, reference.tensor(&key), TOLERANCE, &what);
                }
                Source::Input | Source::None => unreachable!(),
            }
        }
        assert_close(logits, reference.tensor("logits"), TOLERANCE, name);
    }
}

/// A run of one token, and of each length around a window's edge, is the begin of a longer one.
#[test]
fn shorter_prompts_equal_the_begin_of_longer_ones() {
    for name in FAMILIES {
        let reference = Reference::open(&format!("families/{name}/reference.safetensors"));
        let (_, model) = family(name);
        let ids = reference.ints::<2>("ids");
        let logits = model.forward(ids.clone(), &mut ());
        for n_tokens in 1..ids.dims()[1] {
            let found = model.forward(ids.clone().narrow(1, 0, n_tokens), &mut ());
            let expected = logits.clone().narrow(1, 0, n_tokens);
            assert_close(found, expected, 1e-5, &format!("{name}, {n_tokens} tokens"));
        }
    }
}

/// At a model's last position runs are computed, beyond it refused.
#[test]
fn the_last_position_is_read_and_the_next_refused() {
    for name in FAMILIES {
        let (sizes, model) = family(name);
        let ids: Vec<u32> = (0..sizes.n_ctx as u32)
            .map(|idx| idx % sizes.d_vocab as u32)
            .collect();
        assert_eq!(sizes.check_ids(&[&ids]).unwrap(), sizes.n_ctx);
        let logits = model.forward(swivel_core::ids_tensor([&ids], &device()), &mut ());
        let is_finite = logits.is_finite().all().into_scalar();
        assert!(is_finite, "{name}");
        let longer = [ids, vec![0]].concat();
        let error = sizes.check_ids(&[&longer]).unwrap_err().to_string();
        assert!(error.contains(&sizes.n_ctx.to_string()), "{error}");
    }
}

/// What a family lacks is refused with the name to use instead.
#[test]
fn sites_that_a_family_lacks_name_another() {
    for (name, component, instead) in [
        ("gpt2", Component::MlpGated, "mlp_activation"),
        ("llama", Component::AttentionUpdate, "attention_output"),
        ("llama", Component::MlpUpdate, "mlp_output"),
        ("gpt_neox", Component::BlockMiddle, "block_input"),
    ] {
        let error = component.at(0).check(&family(name).0).unwrap_err();
        assert!(error.to_string().contains(instead), "{error}");
    }
    for name in ["gemma2", "gemma3_text"] {
        for component in [
            Component::AttentionUpdate,
            Component::MlpUpdate,
            Component::MlpGated,
        ] {
            component.at(0).check(&family(name).0).unwrap();
        }
    }
    let error = "hook_mlp_out".parse::<Component>().unwrap_err().to_string();
    assert!(
        error.contains("mlp_output") && error.contains("mlp_update"),
        "{error}"
    );
}
