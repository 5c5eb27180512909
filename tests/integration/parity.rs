//! Logits and every site's activation equal Hugging Face's, and every form of weight file loads.

use swivel_core::{Component, Config, Decoder, Recorder, Site, TensorError, Weights};

use crate::support::{B, Reference, assert_close, config, device, fixture, model, model_of, sizes};

/// f32 rounding over two layers; the project promises 1e-4.
const TOLERANCE: f32 = 1e-5;

#[test]
fn logits_equal_hugging_face() {
    let reference = Reference::open("reference.safetensors");
    let ids = reference.ints::<2>("ids");
    for (files, expected) in [
        (vec!["tiny/model.safetensors"], "logits"),
        (vec!["tiny_no_prefix.safetensors"], "logits"),
        (vec!["tiny_f16.safetensors"], "logits_f16"),
        (vec!["tiny_bf16.safetensors"], "logits_bf16"),
        (
            vec![
                "tiny_sharded/model-00001-of-00003.safetensors",
                "tiny_sharded/model-00002-of-00003.safetensors",
                "tiny_sharded/model-00003-of-00003.safetensors",
            ],
            "logits",
        ),
    ] {
        let logits = model_of(&files).forward(ids.clone(), &mut ());
        assert_close(logits, reference.tensor(expected), TOLERANCE, files[0]);
    }
    // A head of its own is one by the config, as in transformers.
    let weights = fixture("tiny_untied.safetensors");
    let weights = Weights::new(&[&weights]).unwrap();
    let config = Config {
        is_tied: false,
        ..config()
    };
    let model: Decoder<B> = Decoder::load(&config, &weights, &device()).unwrap();
    let expected = reference.tensor("logits_untied");
    assert_close(model.forward(ids, &mut ()), expected, TOLERANCE, "untied");
}

#[test]
fn every_site_equals_hugging_face() {
    let reference = Reference::open("reference.safetensors");
    let sizes = sizes();
    let sites: Vec<Site> = Component::ALL
        .iter()
        .flat_map(|(component, ..)| (0..sizes.n_layers).map(|l| component.at(l)))
        .filter(|site| site.check(&sizes).is_ok())
        .collect();
    let mut recorder = Recorder::<B>::new(sites.clone());
    model().forward(reference.ints("ids"), &mut recorder);
    // 19 components in each of two layers, embedding and final norm once.
    assert_eq!(sites.len(), 40);
    for site in sites {
        let name = match site.component {
            Component::Embedding | Component::FinalNorm => site.component.name().to_owned(),
            component => format!("sites.{}.{}", site.layer, component.name()),
        };
        match site.component {
            component if !component.is_per_head() => {
                let found = recorder.get(site).unwrap().clone();
                assert_eq!(found.dims()[2], component.width(&sizes).unwrap(), "{site}");
                assert_close(found, reference.tensor(&name), TOLERANCE, &name);
            }
            Component::AttentionScore => {
                // The reference has 0 where a later key is hidden.
                let found = recorder.get_heads(site).unwrap().clone();
                let hidden = found.clone().equal_elem(f32::NEG_INFINITY);
                assert_close(
                    found.mask_fill(hidden, 0.0),
                    reference.tensor(&name),
                    TOLERANCE,
                    &name,
                );
            }
            Component::AttentionWeight => {
                assert_close(
                    recorder.get_heads(site).unwrap().clone(),
                    reference.tensor(&name),
                    TOLERANCE,
                    &name,
                );
            }
            component => {
                let found = recorder.get_heads(site).unwrap().clone();
                assert_eq!(found.dims()[3], component.width(&sizes).unwrap(), "{site}");
                // The reference has `[batch, pos, head, d_head]`.
                assert_close(
                    found.swap_dims(1, 2),
                    reference.tensor(&name),
                    TOLERANCE,
                    &name,
                );
            }
        }
    }
}

#[test]
fn square_matrix_is_not_transposed() {
    let reference = Reference::open("tiny/model.safetensors");
    let name = "transformer.h.1.attn.c_proj.weight";
    assert_close(
        model().layers[1].self_attn.o_proj.weight.val(),
        reference.tensor(name),
        0.0,
        name,
    );
}

#[test]
fn damaged_weights_are_refused_with_their_cause() {
    let bytes = fixture("tiny/model.safetensors");
    let load = |bytes: &[u8]| {
        Decoder::<B>::load(&config(), &Weights::new(&[bytes])?, &device()).map(|_| ())
    };
    assert!(load(&bytes).is_ok());
    for len in [0, 7, 100, bytes.len() - 1] {
        assert!(
            matches!(
                load(&bytes[..len]),
                Err(TensorError::Safetensors { .. } | TensorError::Length { .. })
            ),
            "{len} bytes"
        );
    }
    // The last value of the file becomes a NaN.
    let mut with_nan = bytes.clone();
    let len = with_nan.len();
    with_nan[len - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    assert!(matches!(load(&with_nan), Err(TensorError::Value { .. })));
    // A name that the model needs is not there.
    let from = b"transformer.ln_f.bias";
    let at = bytes
        .windows(from.len())
        .position(|window| window == from)
        .unwrap();
    let mut renamed = bytes.clone();
    renamed[at..at + from.len()].copy_from_slice(b"transformer.ln_g.bias");
    assert!(
        matches!(load(&renamed), Err(TensorError::Missing { name, .. }) if name == "ln_f.bias")
    );
    // A config of another width.
    let other = String::from_utf8(fixture("tiny/config.json"))
        .unwrap()
        .replace("\"n_embd\": 24", "\"n_embd\": 48");
    let other = swivel_core::Config::from_json(other.as_bytes()).unwrap();
    let weights = Weights::new(&[&bytes]).unwrap();
    let error = Decoder::<B>::load(&other, &weights, &device()).unwrap_err();
    assert!(matches!(error, TensorError::Shape { .. }), "{error}");
}
