//! SmolLM2 and Gemma 3 from their GGUF files, against transformers: `SWIVEL_REAL` names the folder that has them.
//! `fixtures/README.md`, "real/", says what is compared.

use std::{env, fs, path::PathBuf};

use burn::tensor::{Tensor, TensorData};
use swivel_core::{
    Config, Decoder, HeaderReader, Sizes, Weights,
    cone::Cone,
    generate::{Acts, Generator, Sampling},
};

use crate::support::{B, Reference, device};

/// Nats; f32 rounding over up to thirty layers and 700 tokens.
const TOLERANCE: f32 = 1e-3;

/// A file of real weights; `None` where there are none, which `SKIPS.md` lists.
pub fn file(name: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env::var_os("SWIVEL_REAL")?).join(name);
    assert!(
        path.is_file(),
        "SWIVEL_REAL: {} is not there",
        path.display()
    );
    Some(path)
}

/// The model; `None` where there is none.
fn load(name: &str) -> Option<(Sizes, Decoder<B>)> {
    let path = file(&format!("{name}.gguf"))?;
    let bytes = fs::read(path).unwrap();
    let stored = HeaderReader::read(&bytes).unwrap();
    let config = Config::from_gguf(&stored).unwrap();
    let weights = Weights::with_headers(&[&bytes], vec![stored]);
    let model = Decoder::load(&config, &weights, &device()).unwrap();
    Some((config.sizes, model))
}

/// Names of the prompts that have something.
fn prompts_with(reference: &Reference, what: &str) -> Vec<String> {
    let names = reference.names().into_iter();
    let prompts = names.filter_map(|name| Some(name.strip_suffix(what)?.to_owned()));
    let mut prompts: Vec<String> = prompts.collect();
    prompts.sort();
    prompts
}

/// Text that is generated, token by token.
fn check_greedy(name: &str) {
    let Some((sizes, model)) = load(name) else {
        return;
    };
    let reference = Reference::open(&format!("real/{name}.safetensors"));
    let prompts = prompts_with(&reference, ".greedy");
    assert_eq!(prompts.len(), 10);
    for prompt in &prompts {
        let ids = reference.ints::<1>(&format!("{prompt}.ids"));
        let cone = Cone::growing(sizes.n_layers, ids.dims()[0]);
        let cached = model.cache_run(ids.unsqueeze(), &cone);
        let acts = Acts::default();
        let mut generator = Generator::new(&model, &sizes, &cached, Vec::new(), acts).unwrap();
        let expected = reference.ints::<1>(&format!("{prompt}.greedy")).into_data();
        let expected: Vec<i64> = expected.iter().collect();
        let mut found: Vec<i64> = Vec::new();
        while found.len() < expected.len() {
            let logits = generator.logits(&model).into_data();
            let token = Sampling::GREEDY.choose(&logits.to_vec::<f32>().unwrap(), 0.0);
            found.push(i64::from(token));
            generator.step(&model, &[token]).unwrap();
        }
        assert_eq!(found, expected, "{name}: {prompt}");
    }
}

#[test]
fn smollm2_goes_on_as_in_transformers() {
    check_greedy("smollm2");
}

#[test]
fn gemma3_goes_on_as_in_transformers() {
    check_greedy("gemma3");
}

/// Largest difference of logits and of their logsumexp, nats.
fn check_logits(name: &str) {
    let Some((_, model)) = load(name) else {
        return;
    };
    let reference = Reference::open(&format!("real/{name}.safetensors"));
    let columns = reference.ints::<1>("vocab_ids");
    let prompts = prompts_with(&reference, ".ids");
    assert!(prompts.len() >= 50);
    let mut largest = 0.0f32;
    for prompt in &prompts {
        let ids = reference
            .ints::<1>(&format!("{prompt}.ids"))
            .unsqueeze::<2>();
        let positions = reference.ints::<1>(&format!("{prompt}.positions"));
        let mut x = model.embed(ids, 0, &mut ());
        for (l, layer) in model.layers.iter().enumerate() {
            (x, _) = layer.forward(x, None, l, &mut ());
        }
        let rows = model.unembed(x.select(1, positions), &mut ()); // [1, positions, d_vocab]
        let rows: Tensor<B, 2> = rows.squeeze_dim(0);
        let top = rows.clone().argmax(1).squeeze_dim::<1>(1);
        let max = rows.clone().max_dim(1);
        let sum = (rows.clone() - max.clone()).exp().sum_dim(1).log() + max;
        let found = rows.select(1, columns.clone());
        let of = |part: &str| reference.floats(&format!("{prompt}.{part}"));
        let sum = sum.squeeze_dim::<1>(1).into_data();
        for (what, found, expected) in [
            ("logits", found.into_data(), of("logits")),
            ("logsumexp", sum, of("logsumexp")),
        ] {
            let difference = largest_difference(&found, &expected);
            assert!(
                difference <= TOLERANCE,
                "{name} {prompt} {what}: {difference:e} nats"
            );
            largest = largest.max(difference);
        }
        let expected = reference.ints::<1>(&format!("{prompt}.top")).into_data();
        assert_eq!(top.into_data(), expected, "{name} {prompt}: top tokens");
    }
    println!(
        "{name}: {} prompts, largest difference {largest:e} nats",
        prompts.len()
    );
}

fn largest_difference(found: &TensorData, expected: &TensorData) -> f32 {
    assert_eq!(found.shape, expected.shape);
    let [found, expected] = [found, expected].map(|x| x.to_vec::<f32>().unwrap());
    let differences = found.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |max, value| match value.is_nan() {
        true => f32::INFINITY,
        false => max.max(value),
    })
}

#[test]
fn smollm2_answers_as_in_transformers() {
    check_logits("smollm2");
}

#[test]
fn gemma3_answers_as_in_transformers() {
    check_logits("gemma3");
}
