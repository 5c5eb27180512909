//! Every family: logits and sites against transformers, interventions against pyvene, resumed runs against full ones.

mod cone;
mod generate;
mod gradient;
mod half;
mod interventions;
mod sites;
mod split;

use swivel_core::{
    Component, Config, Decoder, Recorder, Site, Sizes, Weights, intervention::Source,
};

use crate::support::{B, Reference, assert_close, device, fixture, model_in};

/// Every folder of random small models.
const FAMILIES: [&str; 11] = [
    "gpt2",
    "llama",
    "llama3",
    "mistral",
    "qwen2",
    "qwen3",
    "gpt_neox",
    "gpt_neox_sequential",
    "gemma",
    "gemma2",
    "gemma3_text",
];

/// The model of a folder.
fn family(name: &str) -> (Sizes, Decoder<B>) {
    model_in(&format!("families/{name}"))
}

/// Every site that the model has.
fn sites(sizes: &Sizes) -> Vec<Site> {
    let layers = 0..sizes.n_layers;
    let sites = Component::ALL
        .into_iter()
        .flat_map(|(component, ..)| layers.clone().map(move |layer| component.at(layer)));
    sites.filter(|site| site.check(sizes).is_ok()).collect()
}

/// What a run had at a site.
#[track_caller]
fn recorded(recorder: &Recorder<B>, site: Site) -> Source<B> {
    Source::recorded(recorder, site).unwrap_or_else(|| panic!("{site} was not reached"))
}
