//! Safetensors whose header says something else than it should.

use serde_json::{Map, Value, json};

use super::mutator::Mutator;
use crate::fields::Fields;

/// Any file of the format, changed in a few places or in none.
pub fn file(mutator: &mut Mutator) -> Vec<u8> {
    let mut header = Map::new();
    if mutator.rarely(2) {
        header.insert("__metadata__".to_owned(), json!({"format": mutator.text()}));
    }
    let mut end = 0;
    for _ in 0..mutator.below(6) {
        let (dtype, n_bytes) =
            mutator.pick(&[("F32", 4), ("F16", 2), ("BF16", 2), ("BOOL", 1), ("I64", 8)]);
        let shape: Vec<usize> = (0..mutator.below(4)).map(|_| mutator.below(5)).collect();
        let start = end;
        end += shape.iter().product::<usize>() * n_bytes;
        let mut tensor = json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]});
        if mutator.rarely(8) {
            mutate_tensor(mutator, &mut tensor);
        }
        header.insert(mutator.text(), tensor);
    }
    let mut json = Value::Object(header).to_string().into_bytes();
    if mutator.rarely(6) {
        // A name that is there already, or another number.
        let (from, to) = mutator.pick(&[
            ("weight", "w"),
            ("0", "18446744073709551615"),
            ("F", "BF"),
            ("}", "}}"),
            ("[", "[[[[[[[[["),
        ]);
        let text = String::from_utf8_lossy(&json);
        json = text.replacen(from, to, 1 + mutator.below(3)).into_bytes();
    }
    if mutator.rarely(8) {
        mutator.mutate_bytes(&mut json);
    }
    let mut file = Fields::default();
    file.number(8, json.len() as u64);
    file.raw(&json);
    file.raw(&vec![0; end]);
    match mutator.rarely(3) {
        true => mutator.mutate(file),
        false => file.bytes,
    }
}

fn mutate_tensor(mutator: &mut Mutator, tensor: &mut Value) {
    let number = json!(mutator.number(4));
    let junk = mutator.pick(&[
        number.clone(),
        json!(null),
        json!([number, number]),
        json!([[number]]),
        json!({"shape": number}),
        json!("F64"),
        json!(-1),
        json!(1e300),
    ]);
    let field = mutator.pick(&["dtype", "shape", "data_offsets", "other"]);
    match (mutator.below(3), &mut tensor[field]) {
        (0, Value::Array(list)) if !list.is_empty() => {
            let at = mutator.below(list.len());
            list[at] = number;
        }
        (1, _) => *tensor = junk,
        (_, value) => *value = junk,
    }
}
