"""Writes a Llama of a Hugging Face folder (config.json, model.safetensors in float32) as ONNX, for `bench.py --model FOLDER`.

Needs the Python packages onnx, numpy and safetensors. The graph uses onnxruntime's own operators, which are faster than what
torch exports: norms with the sum before them, attention with rotation and shared keys and values in one, SiLU in one.
With `--torch`, which needs torch, transformers and onnxscript, it is what torch exports.
"""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

OWN = "com.microsoft"


def graph(config, w, n_tokens):
    nodes, initializers = [], []
    n_heads, n_kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    d_head = config["hidden_size"] // n_heads
    epsilon = config["rms_norm_eps"]

    def const(name, value):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(op, *inputs, outputs=1, domain=OWN, **attributes):
        out = [f"{op}_{len(nodes)}_{i}" for i in range(outputs)]
        nodes.append(helper.make_node(op, list(inputs), out, domain=domain, **attributes))
        return out[0] if outputs == 1 else out

    def linear(x, name, *parts):
        weight = np.concatenate([w[f"{part}.weight"] for part in parts or [name]])
        return node("MatMul", x, const(name, weight.T), domain="")

    def norm(x, update, name):
        weight = const(name, w[f"{name}.weight"])
        if update is None:
            return node("SimplifiedLayerNormalization", x, weight, domain="", axis=-1, epsilon=epsilon), x
        normed, _, _, total = node("SkipSimplifiedLayerNormalization", x, update, weight, outputs=4, epsilon=epsilon)
        return normed, total

    frequencies = config["rope_theta"] ** (-np.arange(0, d_head, 2) / d_head)
    angles = np.outer(np.arange(n_tokens), frequencies)
    rotation = [const(name, f(angles).astype(np.float32)) for name, f in (("cos", np.cos), ("sin", np.sin))]
    lengths = const("last", np.array([n_tokens - 1], np.int32)), const("length", np.array(n_tokens, np.int32))

    x, update = node("Gather", const("embed", w["embed_tokens.weight"]), "ids", domain=""), None
    for l in range(config["num_hidden_layers"]):
        attention, mlp = f"layers.{l}.self_attn", f"layers.{l}.mlp"
        normed, x = norm(x, update, f"layers.{l}.input_layernorm")
        qkv = linear(normed, f"{attention}.qkv", *(f"{attention}.{part}_proj" for part in "qkv"))
        heads = dict(num_heads=n_heads, kv_num_heads=n_kv_heads, do_rotary=1)
        z, _, _ = node("GroupQueryAttention", qkv, "", "", "", "", *lengths, *rotation, outputs=3, **heads)
        normed, x = norm(x, linear(z, f"{attention}.o_proj"), f"layers.{l}.post_attention_layernorm")
        gate = node("QuickGelu", linear(normed, f"{mlp}.gate_proj"), alpha=1.0)
        gated = node("Mul", gate, linear(normed, f"{mlp}.up_proj"), domain="")
        update = linear(gated, f"{mlp}.down_proj")
    normed, _ = norm(x, update, "norm")
    logits = node("FusedMatMul", normed, "embed", transB=1)  # the tied embedding is there once
    ids = helper.make_tensor_value_info("ids", TensorProto.INT32, [1, n_tokens])
    output = helper.make_tensor_value_info(logits, TensorProto.FLOAT, [1, n_tokens, config["vocab_size"]])
    model = helper.make_graph(nodes, "llama", [ids], [output], initializers)
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(OWN, 1)]
    return helper.make_model(model, opset_imports=opsets, ir_version=9)


def export(folder, n_tokens, path):
    import torch
    from transformers import AutoModelForCausalLM

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()

        def forward(self, ids):
            return self.model(input_ids=ids.long(), use_cache=False).logits

    ids = torch.arange(n_tokens, dtype=torch.int32)[None]
    names = dict(input_names=["ids"], output_names=["logits"])
    torch.onnx.export(Logits(), (ids,), path, opset_version=20, dynamo=True, external_data=False, **names)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="folder with config.json and model.safetensors")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--tokens", type=int, default=18)
    parser.add_argument("--torch", action="store_true", help="the graph as torch exports it")
    args = parser.parse_args()

    config = json.loads((args.model / "config.json").read_text())
    weights = args.model / "model.safetensors"
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "config.json").write_text(json.dumps(config | {"n_positions": args.tokens}))
    (args.out / "model.safetensors").unlink(missing_ok=True)
    os.symlink(weights.resolve(), args.out / "model.safetensors")
    if args.torch:
        export(args.model, args.tokens, args.out / "model.onnx")
    else:
        w = {name.removeprefix("model."): value for name, value in load_file(weights).items()}
        onnx.save(graph(config, w, args.tokens), args.out / "model.onnx")


if __name__ == "__main__":
    main()
