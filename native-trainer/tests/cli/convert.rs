//! `convert`: what is written is the same model, and bad input.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use tempfile::TempDir;

use crate::{gguf, support::*};

/// Every tensor of a folder: number format, shape, bytes.
fn tensors(folder: &Path) -> BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)> {
    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |(name, tensor): (String, safetensors::tensor::TensorView<'_>)| {
        let values = (
            tensor.dtype(),
            tensor.shape().to_vec(),
            tensor.data().to_vec(),
        );
        (name, values)
    };
    file.tensors().into_iter().map(tensor).collect()
}

fn config(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap()
}

#[test]
fn a_folder_of_every_family_is_written_as_it_was() {
    for family in fs::read_dir(fixture("families")).unwrap() {
        let family = family.unwrap().path();
        let folder = TempDir::new().unwrap();
        let out = path_in(&folder, "out");
        ok(&["convert", family.to_str().unwrap(), "--out", &out]);
        let out = Path::new(&out);
        assert_eq!(tensors(out), tensors(&family), "{family:?}");
        assert_eq!(config(out), config(&family), "{family:?}");
    }
}

#[test]
fn shards_and_torch_files_become_one_file() {
    for format in ["tiny_sharded", "tiny.bin"] {
        let folder = TempDir::new().unwrap();
        let model = match format {
            "tiny.bin" => torch_folder(&folder),
            sharded => fixture(sharded),
        };
        let out = path_in(&folder, "out");
        ok(&["convert", model.to_str().unwrap(), "--out", &out]);
        assert!(tensors(Path::new(&out)) == tensors(&fixture("tiny")));
    }
}

/// The tiny model with its weights as `torch.save` writes them.
fn torch_folder(folder: &TempDir) -> std::path::PathBuf {
    let model = folder.path().join("torch");
    fs::create_dir(&model).unwrap();
    fs::copy(fixture("tiny/config.json"), model.join("config.json")).unwrap();
    fs::copy(fixture("tiny.bin"), model.join("pytorch_model.bin")).unwrap();
    model
}

#[test]
fn gguf_files_get_the_names_and_layouts_of_their_family() {
    for (family, architecture) in [
        ("llama", "llama"),
        ("gemma3_text", "gemma3"),
        ("gpt2", "gpt2"),
    ] {
        let original = fixture("families").join(family);
        let folder = TempDir::new().unwrap();
        let [file, out] = ["model.gguf", "out"].map(|name| path_in(&folder, name));
        fs::write(&file, gguf::of_folder(&original, architecture).bytes()).unwrap();
        ok(&["convert", &file, "--out", &out]);
        let out = Path::new(&out);
        let [expected, found] = [tensors(&original), tensors(out)];
        assert!(
            expected.keys().eq(found.keys()),
            "{family}: {:?}",
            found.keys()
        );
        for (name, (_, shape, values)) in &expected {
            assert_eq!(shape, &found[name].1, "{family}: {name}");
            // Norms of Gemma have lost what adding 1 to them in f32 costs.
            let differs = floats(values)
                .zip(floats(&found[name].2))
                .any(|(a, b)| (a - b).abs() > 1.2e-7);
            assert!(!differs, "{family}: {name}");
        }
        let [expected, found] = [config(&original), config(out)];
        for field in ["architectures", "model_type", "vocab_size"] {
            assert_eq!(expected[field], found[field], "{family}: {field}");
        }
        assert_eq!(found["torch_dtype"], "float32");
        // The folder is a model of its own, with a tokenizer.
        let inspected = ok_json(&["inspect", out.to_str().unwrap(), "--json"]);
        assert_eq!(inspected["sizes"]["d_vocab"], expected["vocab_size"]);
        assert_eq!(
            files_in(out),
            [
                "config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json"
            ]
        );
    }
}

#[test]
fn a_number_format_is_written_and_said() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "out");
    let model = fixture("families/llama");
    let args = ["convert", model.to_str().unwrap(), "--out", &out, "--json"];
    for (dtype, name, stored) in [
        ("f16", "float16", Dtype::F16),
        ("bf16", "bfloat16", Dtype::BF16),
    ] {
        let done = ok_json(&[&args[..], &["--dtype", dtype, "--force"]].concat());
        assert_eq!(done["dtype"], dtype);
        let out = Path::new(&out);
        let config = config(out);
        assert_eq!(config["torch_dtype"], name);
        assert_eq!(config["dtype"], Value::Null);
        let tensors = tensors(out);
        assert!(tensors.values().all(|tensor| tensor.0 == stored));
        assert_eq!(done["tensors"], tensors.len());
    }
}

#[test]
fn the_embedded_model_answers_as_before_when_it_was_written() {
    let folder = TempDir::new().unwrap();
    let [out, plan] = ["out", "plan.json"].map(|name| path_in(&folder, name));
    ok(&["convert", "solver", "--out", &out]);
    fs::write(&plan, super::apply::PLAN).unwrap();
    let logits = ["solver", &out].map(|model| {
        let logits = path_in(&folder, "logits.safetensors");
        let args = [
            "apply", &plan, "--model", model, "--out", &logits, "--force",
        ];
        ok(&[&args[..], &["--device", "flex"]].concat());
        fs::read(logits).unwrap()
    });
    assert!(logits[0] == logits[1]);
}

#[test]
fn a_folder_that_is_there_is_kept() {
    let folder = TempDir::new().unwrap();
    let out = path_in(&folder, "out");
    let args = ["convert", "solver", "--out", &out];
    ok(&args);
    check_error(&args, &["is there already", "--force"]);
    // What spoke of the model that was there goes, other files stay.
    fs::write(Path::new(&out).join("notes.txt"), "mine").unwrap();
    let model = fixture("tiny");
    ok(&["convert", model.to_str().unwrap(), "--out", &out, "--force"]);
    assert_eq!(
        files_in(Path::new(&out)),
        [
            "config.json",
            "generation_config.json",
            "model.safetensors",
            "notes.txt"
        ]
    );
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_no_model() {
    let folder = TempDir::new().unwrap();
    let [out, file] = ["out", "file"].map(|name| path_in(&folder, name));
    fs::write(&file, "").unwrap();
    check_error(&["convert", "solver", "--out", &file], &["file"]);
    check_error(&["convert", "no/such/model", "--out", &out], &["no model"]);
    check_error(
        &["convert", "solver", "--out", &out, "--dtype", "f8"],
        &["f8", "bf16"],
    );
    // A value that f16 cannot hold.
    let model = folder.path().join("model");
    fs::create_dir(&model).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(fixture("tiny").join(name), model.join(name)).unwrap();
    }
    let weights = model.join("model.safetensors");
    let len = fs::metadata(&weights).unwrap().len() as usize;
    super::model::patch(&weights, len - 4, &1e6_f32.to_le_bytes());
    let model = model.to_str().unwrap();
    check_error(
        &["convert", model, "--out", &out, "--dtype", "f16"],
        &["1000000", "65504", "bf16"],
    );
    assert_no_files(Path::new(&out));
    ok(&["convert", model, "--out", &out, "--dtype", "bf16"]);
}
