//! Models in each format of weight files: what is read is the same model, and what is wrong is refused before anything is written.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use crate::{gguf, model::patch, support::*};

/// Three tokens of any model.
const PLAN: &str = r#"{"version": 1, "base": {"ids": [[1, 2, 3]]}, "sources": [], "interventions": [], "record": []}"#;

/// Runs a plan on a model.
fn args<'a>(model: &'a str, plan: &'a str, out: &'a str) -> [&'a str; 8] {
    [
        "apply", plan, "--model", model, "--out", out, "--device", "flex",
    ]
}

/// What a model makes of three tokens.
fn logits(model: &Path) -> Vec<u8> {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out/logits.safetensors"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    ok(&args(model.to_str().unwrap(), &plan, &out));
    fs::read(out).unwrap()
}

/// A model is refused in one line that holds these texts, and nothing is written.
#[track_caller]
fn check_refused_model(model: &Path, expected: &[&str]) {
    let folder = TempDir::new().unwrap();
    let [plan, out] = ["plan.json", "out/logits.safetensors"].map(|name| path_in(&folder, name));
    fs::write(&plan, PLAN).unwrap();
    check_error(&args(model.to_str().unwrap(), &plan, &out), expected);
    let out = folder.path().join("out");
    assert!(!out.exists() || files_in(&out).is_empty(), "{expected:?}");
}

/// A copy of a fixture's folder.
fn copy(of: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    for name in files_in(&fixture(of)) {
        fs::copy(fixture(of).join(&name), folder.path().join(&name)).unwrap();
    }
    folder
}

/// The tiny model's config beside another file of weights.
fn tiny_with(name: &str, weights: &Path) -> TempDir {
    let folder = TempDir::new().unwrap();
    let config = folder.path().join("config.json");
    fs::copy(fixture("tiny/config.json"), config).unwrap();
    fs::copy(weights, folder.path().join(name)).unwrap();
    folder
}

fn gguf_at(folder: &TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("model.gguf");
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn all_formats_of_a_model_answer_alike() {
    let torch = tiny_with("pytorch_model.bin", &fixture("tiny.bin"));
    let expected = logits(&fixture("tiny"));
    assert!(logits(&fixture("tiny_sharded")) == expected);
    assert!(logits(torch.path()) == expected);
    let folder = TempDir::new().unwrap();
    let llama = fixture("families/llama");
    let file = gguf_at(&folder, &gguf::of_folder(&llama, "llama").bytes());
    let [found, expected] = [logits(&file), logits(&llama)];
    assert_eq!(found.len(), expected.len());
    let floats = |bytes: &[u8]| -> Vec<f32> {
        let values = bytes[bytes.len() - 2 * 3 * 71 * 4..].chunks(4);
        values
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    };
    // Epsilon and base are f32 in the file.
    for (a, b) in floats(&found).into_iter().zip(floats(&expected)) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
}

#[test]
fn families_and_architectures_that_are_not_known_are_named() {
    let folder = copy("tiny");
    let config = folder.path().join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let changed = text.replace(r#""model_type": "gpt2""#, r#""model_type": "rwkv""#);
    assert_ne!(text, changed);
    fs::write(&config, changed).unwrap();
    let expected = ["model_type", "rwkv", "gpt2, llama"];
    check_refused_model(folder.path(), &expected);

    let file = gguf::Gguf::default().text("general.architecture", "rwkv");
    let file = file.tensor("token_embd.weight", &[2, 2], 0, vec![0; 16]);
    let folder = TempDir::new().unwrap();
    check_refused_model(
        &gguf_at(&folder, &file.bytes()),
        &["general.architecture", "rwkv", "gpt2, llama"],
    );
    let file = gguf::Gguf::default().tensor("x", &[2, 2], 99, vec![0; 16]);
    let expected = ["type", "99", "Q4_K"];
    check_refused_model(&gguf_at(&folder, &file.bytes()), &expected);
}

#[test]
fn configs_that_lie_about_shapes_are_refused() {
    for (from, to, expected) in [
        (
            r#""head_dim": 10"#,
            r#""head_dim": 14"#,
            ["q_proj", "[56, 28]", "[40, 28]"],
        ),
        (
            r#""vocab_size": 71"#,
            r#""vocab_size": 72"#,
            ["embed_tokens", "[72, 28]", "[71, 28]"],
        ),
        (
            r#""num_key_value_heads": 2"#,
            r#""num_key_value_heads": 4"#,
            ["k_proj", "[40, 28]", "[20, 28]"],
        ),
    ] {
        let folder = copy("families/llama");
        let config = folder.path().join("config.json");
        let text = fs::read_to_string(&config).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&config, text.replace(from, to)).unwrap();
        check_refused_model(folder.path(), &expected);
    }
}

#[test]
fn shards_that_are_missing_or_double_are_named() {
    const SHARDS: [&str; 2] = [
        "model-00001-of-00003.safetensors",
        "model-00002-of-00003.safetensors",
    ];
    let folder = copy("tiny_sharded");
    fs::remove_file(folder.path().join(SHARDS[1])).unwrap();
    check_refused_model(folder.path(), &[SHARDS[1], "No such file"]);
    let [from, to] = SHARDS.map(|name| folder.path().join(name));
    fs::copy(from, to).unwrap();
    check_refused_model(folder.path(), &["is there twice"]);

    let index = folder.path().join("model.safetensors.index.json");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(&index, text.replace(SHARDS[1], "../other.safetensors")).unwrap();
    check_refused_model(folder.path(), &["outside its folder", "../other"]);
}

#[test]
fn safetensors_headers_that_lie_are_refused() {
    let folder = copy("tiny");
    let weights = folder.path().join("model.safetensors");
    patch(&weights, 0, &(2_u64 << 30).to_le_bytes());
    check_refused_model(folder.path(), &["model.safetensors", "too large"]);

    // Offsets behind the end of the file.
    let header =
        r#"{"wte.weight":{"dtype":"F32","shape":[61,24],"data_offsets":[0,5856]}}        "#;
    let bytes = [
        &(header.len() as u64).to_le_bytes(),
        header.as_bytes(),
        &[0; 64],
    ];
    fs::write(&weights, bytes.concat()).unwrap();
    check_refused_model(folder.path(), &["model.safetensors", "was it cut?"]);
}

#[test]
fn gguf_files_that_were_cut_are_refused() {
    let folder = TempDir::new().unwrap();
    let bytes = gguf::of_folder(&fixture("families/llama"), "llama").bytes();
    // In the magic, the metadata, the tensors' names, the values.
    for n_bytes in [3, 100, 3_000, bytes.len() / 2, bytes.len() - 200] {
        check_refused_model(&gguf_at(&folder, &bytes[..n_bytes]), &["model.gguf"]);
    }
    let mut damaged = bytes;
    let n_bytes = damaged.len();
    damaged[n_bytes - 300..n_bytes - 100].fill(0xff);
    check_refused_model(&gguf_at(&folder, &damaged), &["NaN", "weight"]);
}

#[test]
fn torch_files_that_are_no_state_dict_are_refused() {
    for (file, expected) in [
        ("module.bin", "nothing of it was run"),
        ("old.bin", "save it again"),
        ("nested.bin", "is a table of its own"),
        ("state.bin", "expected shape"),
    ] {
        let folder = tiny_with("pytorch_model.bin", &fixture("torch").join(file));
        check_refused_model(folder.path(), &[expected]);
    }
    let folder = tiny_with("pytorch_model.bin", &fixture("tiny.bin"));
    let weights = folder.path().join("pytorch_model.bin");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 30]).unwrap();
    check_refused_model(folder.path(), &["pytorch_model.bin"]);
}
