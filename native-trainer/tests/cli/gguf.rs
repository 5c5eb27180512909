//! GGUF files of small models, made from Hugging Face folders as llama.cpp's converter does.

use std::{fs, path::Path};

use safetensors::SafeTensors;
use serde_json::Value;

/// Type numbers of metadata.
const U32: u32 = 4;
const F32: u32 = 6;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// A file that is put together.
#[derive(Default)]
pub struct Gguf {
    entries: Vec<Vec<u8>>,
    tensors: Vec<Tensor>,
}

struct Tensor {
    name: String,
    shape: Vec<usize>,
    kind: u32,
    bytes: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Gguf {
    fn entry(&mut self, key: &str, kind: u32, value: &[u8]) {
        let entry = [&text(key), &kind.to_le_bytes()[..], value].concat();
        self.entries.push(entry);
    }

    pub fn text(mut self, key: &str, value: &str) -> Self {
        self.entry(key, TEXT, &text(value));
        self
    }

    fn texts(mut self, key: &str, values: &[String]) -> Self {
        let head = [
            &TEXT.to_le_bytes()[..],
            &(values.len() as u64).to_le_bytes(),
        ]
        .concat();
        let values = values.iter().flat_map(|value| text(value));
        let list: Vec<u8> = head.into_iter().chain(values).collect();
        self.entry(key, LIST, &list);
        self
    }

    /// A tensor of one number format, by its number; the shape from the outermost dimension on.
    pub fn tensor(mut self, name: &str, shape: &[usize], kind: u32, bytes: Vec<u8>) -> Self {
        self.tensors.push(Tensor {
            name: name.to_owned(),
            shape: shape.to_vec(),
            kind,
            bytes,
        });
        self
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        bytes.extend(self.entries.concat());
        let mut data: Vec<u8> = Vec::new();
        for tensor in &self.tensors {
            bytes.extend(text(&tensor.name));
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            let dims = tensor.shape.iter().rev();
            bytes.extend(dims.flat_map(|n| (*n as u64).to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(&tensor.bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        [bytes, data].concat()
    }
}

/// Names of tensors in folders, and in GGUF files; `{}` is the layer.
const NAMES: &[(&str, &str)] = &[
    ("model.embed_tokens", "token_embd"),
    ("model.norm", "output_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("input_layernorm", "attn_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    ("model.layers.", "blk."),
    ("transformer.wte", "token_embd"),
    ("transformer.wpe", "position_embd"),
    ("transformer.ln_f", "output_norm"),
    ("ln_1", "attn_norm"),
    ("ln_2", "ffn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    ("transformer.h.", "blk."),
];

/// Fields of configs, and their keys without the architecture.
const FIELDS: &[(&str, &str)] = &[
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    ("max_position_embeddings", "context_length"),
    ("rope_theta", "rope.freq_base"),
    ("sliding_window", "attention.sliding_window"),
    ("n_embd", "embedding_length"),
    ("n_layer", "block_count"),
    ("n_inner", "feed_forward_length"),
    ("n_head", "attention.head_count"),
    ("layer_norm_epsilon", "attention.layer_norm_epsilon"),
    ("n_positions", "context_length"),
];

/// The model of a folder as a GGUF file of this architecture, with a tokenizer of made-up words.
pub fn of_folder(folder: &Path, architecture: &str) -> Gguf {
    let config = fs::read_to_string(folder.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let mut gguf = Gguf::default().text("general.architecture", architecture);
    for (field, key) in FIELDS {
        let key = format!("{architecture}.{key}");
        match config.get(*field) {
            Some(value) if value.is_u64() => {
                let value = value.as_u64().unwrap() as u32;
                gguf.entry(&key, U32, &value.to_le_bytes());
            }
            Some(value) if value.is_f64() => {
                let value = value.as_f64().unwrap() as f32;
                gguf.entry(&key, F32, &value.to_le_bytes());
            }
            _ => {}
        }
    }
    let words = (0..config["vocab_size"].as_u64().unwrap()).map(|id| format!("w{id}"));
    gguf = gguf
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.tokens", &words.collect::<Vec<_>>())
        .texts("tokenizer.ggml.merges", &[]);

    let bytes = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (name, tensor) in file.tensors() {
        let values: Vec<f32> = tensor
            .data()
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let mut shape = tensor.shape().to_vec();
        let is_query_or_key = name.contains("q_proj") || name.contains("k_proj");
        let values = match architecture {
            "llama" if is_query_or_key => in_pairs(&values, config["head_dim"].as_u64().unwrap()),
            "gemma3" if name.contains("norm") => values.iter().map(|x| x + 1.0).collect(),
            "gpt2" if name.contains(".c_") && shape.len() == 2 => {
                shape.reverse();
                let (rows, columns) = (shape[0], shape[1]);
                let at = |row| (0..columns).map(move |column| column * rows + row);
                (0..rows).flat_map(at).map(|at| values[at]).collect()
            }
            _ => values,
        };
        // The norm behind the attention is called by what Gemma has there.
        let behind = match architecture {
            "gemma3" => "post_attention_norm",
            _ => "ffn_norm",
        };
        let name = name.replace("post_attention_layernorm", behind);
        let name = (NAMES.iter()).fold(name, |name, (theirs, ggufs)| name.replace(theirs, ggufs));
        let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        gguf = gguf.tensor(&name, &shape, 0, bytes);
    }
    gguf
}

/// Rows of queries or keys as Llama's files have them: `reshape(head, 2, half, …).swapaxes(1, 2)`.
fn in_pairs(values: &[f32], d_head: u64) -> Vec<f32> {
    let (d_head, d_model) = (d_head as usize, 28);
    let row_of = |row: usize| {
        let (head, half, side) = (row / d_head, row % d_head / 2, row % 2);
        head * d_head + side * d_head / 2 + half
    };
    (0..values.len() / d_model)
        .map(row_of)
        .flat_map(|row| &values[row * d_model..(row + 1) * d_model])
        .copied()
        .collect()
}
