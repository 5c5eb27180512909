//! Vocabularies that are held in parts, as devices need it that take no buffer of a whole one.

use burn::tensor::{Int, Tensor};
use swivel_core::{Loader, StoredFile, TensorError};

use super::*;

fn opened(name: &str) -> (Config, Vec<u8>, Vec<StoredFile>) {
    let file = |file: &str| fixture(&format!("families/{name}/{file}"));
    let config = Config::from_json(&file("config.json")).unwrap();
    let weights = file("model.safetensors");
    let stored = Weights::new(&[&weights]).unwrap().stored().to_vec();
    (config, weights, stored)
}

/// The model with matrices of at most so many bytes.
fn in_parts_of(name: &str, n_bytes: u64) -> Result<Decoder<B>, TensorError> {
    let (config, weights, stored) = opened(name);
    let mut loader = Loader::new(&config, &stored, &device())?.in_parts_of(n_bytes)?;
    while let Some(wanted) = loader.wants() {
        loader.give(&weights[wanted.bytes.start as usize..wanted.bytes.end as usize])?;
    }
    Ok(loader.finish()?.0)
}

#[test]
fn a_vocabulary_in_parts_answers_the_same() {
    let mut n_split = 0;
    for name in FAMILIES {
        // As small as the other matrices allow.
        let least = (1..200).find_map(|n| Some((100 * n, in_parts_of(name, 100 * n).ok()?)));
        let (n_bytes, model) = least.unwrap();
        let (sizes, whole) = family(name);
        let table = 4 * (sizes.d_vocab * sizes.d_model) as u64;
        n_split += usize::from(n_bytes < table);
        let reference = Reference::open(&format!("families/{name}/reference.safetensors"));
        let ids: Tensor<B, 2, Int> = reference.ints("ids");
        let logits = |model: &Decoder<B>| model.forward(ids.clone(), &mut ());
        assert_close(logits(&model), logits(&whole), 1e-6, name);
        assert_close(model.head_weight(), whole.head_weight(), 0.0, name);

        // What is read part by part, and what is read of some tokens.
        let [batch, pos] = ids.dims();
        let x = whole.embed(ids.clone(), 0, &mut ());
        let rows = x.reshape([batch * pos, sizes.d_model]);
        let [top, expected] = [&model, &whole].map(|model| model.top(rows.clone(), 5));
        assert_eq!(top.ids.to_data(), expected.ids.to_data(), "{name}");
        let some = [0, sizes.d_vocab as u32 / 2, sizes.d_vocab as u32 - 1];
        let [found, expected] = [&model, &whole].map(|model| model.logits_of(rows.clone(), &some));
        assert_close(found, expected, 1e-6, name);
    }
    assert!(n_split >= 5, "{n_split} of the families were split");
}

#[test]
fn a_matrix_that_cannot_be_split_is_named() {
    let error = in_parts_of("llama", 1000).unwrap_err().to_string();
    assert!(error.contains("takes 1000 in one piece"), "{error}");
    assert!(error.contains("layers.0."), "{error}");
}
