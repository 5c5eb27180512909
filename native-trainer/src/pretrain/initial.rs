//! Initial values of the solver.
//!
//! They are ours to choose, and decide whether the task is learned in minutes or not at all:
//! - Embeddings are drawn wide, and the final norm's gain is small, so that words are told apart at once and logits stay
//!   small.
//! - A position embedding is the sum of a random vector for its place in a line (a line has 12 tokens) and a code for
//!   the line: cosines and sines, in a few dimensions that nothing else writes to at first. Each head starts with a query and
//!   a key that read that code, so that it attends within a line. What is learned in one line then holds in all.

use std::f64::consts::TAU;

use rand_chacha::ChaCha8Rng;
use swivel_core::{Sizes, train::gaussian};

use super::{
    lines::LINE,
    settings::{Init, Settings},
};
use crate::weights::NamedTensors;

/// Initial values of a model of these sizes.
pub fn values(sizes: &Sizes, settings: &Settings, rng: &mut ChaCha8Rng) -> NamedTensors {
    let Sizes {
        d_model,
        n_heads,
        n_layers,
        n_ctx,
        d_vocab,
        ..
    } = *sizes;
    let (d_head, d_mlp) = (sizes.d_head, sizes.d_mlp);
    let Init {
        embedding_std,
        final_norm_gain,
        line_frequencies,
        line_amplitude,
        line_gain,
    } = &settings.init;
    let code = 2 * line_frequencies.len();
    let n_lines = settings.n_lines();
    let mut tensors = NamedTensors::new();
    let mut normal = |shape: [usize; 2], std: f64| -> Vec<f32> {
        (0..shape[0] * shape[1])
            .map(|_| (std * gaussian(rng)) as f32)
            .collect()
    };
    let mut insert = |name: String, shape: &[usize], values: Vec<f32>| {
        drop(tensors.insert(name, (shape.to_vec(), values)))
    };

    let mut wte = normal([d_vocab, d_model], *embedding_std);
    wte.chunks_mut(d_model)
        .for_each(|row| row[d_model - code..].fill(0.0));
    insert("wte.weight".to_owned(), &[d_vocab, d_model], wte);
    let places = normal([LINE, d_model], *embedding_std);
    let wpe = (0..n_ctx).flat_map(|position| {
        let place = position % LINE * d_model;
        let turn = TAU * (position / LINE) as f64 / n_lines as f64;
        let code = line_frequencies.iter().flat_map(move |frequency| {
            let angle = turn * *frequency as f64;
            [angle.cos(), angle.sin()].map(|value| (line_amplitude * value) as f32)
        });
        places[place..place + d_model - 2 * line_frequencies.len()]
            .iter()
            .copied()
            .chain(code)
            .collect::<Vec<_>>()
    });
    insert("wpe.weight".to_owned(), &[n_ctx, d_model], wpe.collect());

    let into_stream = (2.0 * n_layers as f64).sqrt();
    for l in 0..n_layers {
        let mut c_attn = normal([d_model, 3 * d_model], (d_model as f64).powf(-0.5));
        for head in 0..n_heads {
            for (query_or_key, idx) in [0, 1]
                .into_iter()
                .flat_map(|part| (0..code).map(move |idx| (part, idx)))
            {
                let column = query_or_key * d_model + head * d_head + idx;
                for row in 0..d_model {
                    let reads = row == d_model - code + idx;
                    c_attn[row * 3 * d_model + column] =
                        if reads { *line_gain as f32 } else { 0.0 };
                }
            }
        }
        insert(
            format!("h.{l}.attn.c_attn.weight"),
            &[d_model, 3 * d_model],
            c_attn,
        );
        for (name, d_input) in [("attn.c_proj", d_model), ("mlp.c_proj", d_mlp)] {
            let mut weight = normal(
                [d_input, d_model],
                (d_input as f64).powf(-0.5) / into_stream,
            );
            weight
                .chunks_mut(d_model)
                .for_each(|row| row[d_model - code..].fill(0.0));
            insert(format!("h.{l}.{name}.weight"), &[d_input, d_model], weight);
        }
        let c_fc = normal([d_model, d_mlp], (d_model as f64).powf(-0.5));
        insert(format!("h.{l}.mlp.c_fc.weight"), &[d_model, d_mlp], c_fc);
        for (name, width) in [
            ("attn.c_attn", 3 * d_model),
            ("attn.c_proj", d_model),
            ("mlp.c_fc", d_mlp),
            ("mlp.c_proj", d_model),
        ] {
            insert(format!("h.{l}.{name}.bias"), &[width], vec![0.0; width]);
        }
        for name in ["ln_1", "ln_2"] {
            insert(
                format!("h.{l}.{name}.weight"),
                &[d_model],
                vec![1.0; d_model],
            );
            insert(format!("h.{l}.{name}.bias"), &[d_model], vec![0.0; d_model]);
        }
    }
    insert(
        "ln_f.weight".to_owned(),
        &[d_model],
        vec![*final_norm_gain as f32; d_model],
    );
    insert("ln_f.bias".to_owned(), &[d_model], vec![0.0; d_model]);
    tensors
}
