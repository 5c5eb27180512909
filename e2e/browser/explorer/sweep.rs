//! A sweep result of a test: a map with the page's own direction among its cells.

use serde_json::{Value, json};

use super::direction_file;

/// The pair that the page shows first.
const BASE: [u32; 10] = [681, 11, 475, 11, 681, 11, 851, 11, 681, 28];
const SOURCE: [u32; 10] = [640, 11, 572, 11, 842, 11, 569, 11, 640, 28];
/// Width of the solver.
const WIDTH: usize = 64;

/// A place, how well it works, and whether its direction is the page's own.
pub(super) struct Place {
    pub layer: usize,
    pub position: usize,
    pub variable: &'static str,
    pub iia: f64,
    pub is_own: bool,
}

pub(super) fn place(layer: usize, position: usize, iia: f64) -> Place {
    Place {
        layer,
        position,
        variable: "op5",
        iia,
        is_own: false,
    }
}

/// A sweep result with these cells.
pub(super) fn sweep_file(places: &[Place], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let (mut own, mut metadata) = (Vec::new(), Value::Null);
    direction_file(|header, values| {
        own.clone_from(values);
        metadata = header["__metadata__"].clone();
    });
    let cells: Vec<Value> = (places.iter())
        .map(|place| {
            json!({
                "layer": place.layer,
                "component": "block_output",
                "position": place.position.to_string(),
                "variable": place.variable,
                "iia": place.iia,
                "controls": { "random": 0.502, "full": 0.998, "shuffled": null },
                "metrics": { "probability": [0.031, place.iia], "logit_difference": [-5.1, 4.9], "kl": 3.2 },
                "top_1": 258,
                "logit": 14.347639,
            })
        })
        .collect();
    let mut header = json!({ "__metadata__": {
        "format": "swivel.bundle",
        "format_version": "1",
        "method": "low_rank",
        "model": "solver",
        "model_sha256": metadata["model_sha256"],
        "task": "programs/07065a",
        "test_pairs": "1000",
        "base": json!(BASE).to_string(),
        "source": json!(SOURCE).to_string(),
        "n_planned": places.len().to_string(),
        "run": "{}",
        "cells": json!(cells).to_string(),
    }});
    let mut values = Vec::new();
    for (idx, place) in places.iter().enumerate() {
        let start = values.len();
        if place.is_own {
            values.extend(&own);
        } else {
            let unit = (0..WIDTH).map(|i| f32::from(i == idx % WIDTH));
            values.extend(unit.flat_map(f32::to_le_bytes));
        }
        header[format!("basis.{idx}")] =
            json!({ "dtype": "F32", "shape": [1, WIDTH], "data_offsets": [start, values.len()] });
    }
    change(&mut header);
    let header = header.to_string().into_bytes();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header);
    file.extend(values);
    file
}

/// Every layer and token of the first pair; the page's own direction works best.
pub(super) fn places() -> Vec<Place> {
    let all = (0..3)
        .rev()
        .flat_map(|layer| (0..10).map(move |position| (layer, position)));
    all.map(|(layer, position)| match (layer, position) {
        (2, 9) => Place {
            is_own: true,
            ..place(2, 9, 0.999)
        },
        (1, 9) => place(1, 9, 0.874),
        (0, 8) => place(0, 8, 0.642),
        (1, 8) => place(1, 8, 0.731),
        (0, 4 | 0) => place(layer, position, 0.588),
        _ => place(layer, position, 0.497 + 0.002 * position as f64),
    })
    .collect()
}
