"""Writes a folder of random weights in a real model's shapes, tensor by tensor, for measuring what loading it takes.

    python bench/loading.py gpt2-large FOLDER --dtype f16

needs numpy alone. `swivel bench loading --model FOLDER` reads it.
"""

import argparse
import json
from pathlib import Path

import numpy as np

GPT2 = {  # layers, width, heads
    "distilgpt2": (6, 768, 12),
    "gpt2": (12, 768, 12),
    "gpt2-medium": (24, 1024, 16),
    "gpt2-large": (36, 1280, 20),
}


def gpt2(name):
    """Config and shapes of a GPT-2."""
    n_layers, width, heads = GPT2[name]
    config = dict(model_type="gpt2", n_layer=n_layers, n_embd=width, n_head=heads, n_positions=1024, vocab_size=50257)
    shapes = {"wte.weight": [50257, width], "wpe.weight": [1024, width]}
    for layer in range(n_layers):
        for part, d_input, d_output in [
            ("attn.c_attn", width, 3 * width),
            ("attn.c_proj", width, width),
            ("mlp.c_fc", width, 4 * width),
            ("mlp.c_proj", 4 * width, width),
        ]:
            shapes[f"h.{layer}.{part}.weight"] = [d_input, d_output]
            shapes[f"h.{layer}.{part}.bias"] = [d_output]
        for norm in ["ln_1", "ln_2"]:
            shapes |= {f"h.{layer}.{norm}.{kind}": [width] for kind in ["weight", "bias"]}
    shapes |= {"ln_f.weight": [width], "ln_f.bias": [width]}
    return config, {f"transformer.{name}": shape for name, shape in shapes.items()}


def tinyllama():
    """Config and shapes of TinyLlama 1.1B."""
    width, mlp, keys = 2048, 5632, 256
    config = dict(
        model_type="llama", hidden_size=width, intermediate_size=mlp, num_hidden_layers=22, num_attention_heads=32,
        num_key_value_heads=4, max_position_embeddings=2048, vocab_size=32000, rms_norm_eps=1e-5,
    )  # fmt: skip
    shapes = {"model.embed_tokens.weight": [32000, width], "lm_head.weight": [32000, width], "model.norm.weight": [width]}
    for layer in range(22):
        for part, shape in [
            ("self_attn.q_proj", [width, width]),
            ("self_attn.k_proj", [keys, width]),
            ("self_attn.v_proj", [keys, width]),
            ("self_attn.o_proj", [width, width]),
            ("mlp.gate_proj", [mlp, width]),
            ("mlp.up_proj", [mlp, width]),
            ("mlp.down_proj", [width, mlp]),
            ("input_layernorm", [width]),
            ("post_attention_layernorm", [width]),
        ]:
            shapes[f"model.layers.{layer}.{part}.weight"] = shape
    return config, shapes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", choices=[*GPT2, "tinyllama"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dtype", choices=["f32", "f16"], default="f32")
    args = parser.parse_args()
    config, shapes = tinyllama() if args.model == "tinyllama" else gpt2(args.model)
    dtype = {"f32": np.float32, "f16": np.float16}[args.dtype]
    header, start = {}, 0
    for name, shape in shapes.items():
        end = start + int(np.prod(shape)) * np.dtype(dtype).itemsize
        header[name] = {"dtype": args.dtype.upper(), "shape": shape, "data_offsets": [start, end]}
        start = end
    header = json.dumps(header).encode()
    args.folder.mkdir(parents=True, exist_ok=True)
    (args.folder / "config.json").write_text(json.dumps(config))
    rng = np.random.default_rng(0)
    with open(args.folder / "model.safetensors", "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for shape in shapes.values():
            file.write((0.02 * rng.standard_normal(shape, dtype=np.float32)).astype(dtype).tobytes())


if __name__ == "__main__":
    main()
