"""Writes a GPT-2 with random weights twice, for `bench.py`: ONNX for onnxruntime-web, safetensors + config.json for Swivel.

Needs the Python packages onnx, numpy and safetensors. The graph uses the largest standard operators there are
(LayerNormalization, Gelu, Softmax; opset 20), so that onnxruntime runs its fused kernels.
"""

import json
import math
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save_file

CASES = {
    "mlp": dict(n_layer=1, n_embd=768, n_head=12, vocab_size=8, n_positions=64),
    "gpt2": dict(n_layer=2, n_embd=768, n_head=12, vocab_size=1000, n_positions=64),
    "solver": dict(n_layer=3, n_embd=64, n_head=4, vocab_size=922, n_positions=131),
}


def weights(config):
    rng = np.random.default_rng(0)
    d = config["n_embd"]

    def normal(*shape, scale):
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    w = {"wte.weight": normal(config["vocab_size"], d, scale=0.5), "wpe.weight": normal(config["n_positions"], d, scale=0.5)}
    for l in range(config["n_layer"]):
        linear = {"attn.c_attn": (d, 3 * d), "attn.c_proj": (d, d), "mlp.c_fc": (d, 4 * d), "mlp.c_proj": (4 * d, d)}
        for name, (d_in, d_out) in linear.items():
            w[f"h.{l}.{name}.weight"] = normal(d_in, d_out, scale=d_in**-0.5)
            w[f"h.{l}.{name}.bias"] = normal(d_out, scale=0.1)
    for name in ["ln_f", *(f"h.{l}.ln_{i}" for l in range(config["n_layer"]) for i in (1, 2))]:
        w[f"{name}.weight"] = 1 + normal(d, scale=0.1)
        w[f"{name}.bias"] = normal(d, scale=0.1)
    return w


class Graph:
    def __init__(self, w):
        self.w, self.nodes, self.initializers, self.known = w, [], [], set()

    def const(self, name, value):
        if name not in self.known:
            self.known.add(name)
            self.initializers.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weight(self, name):
        return self.const(name, self.w[name])

    def node(self, op, *inputs, outputs=1, **attributes):
        out = [f"{op}_{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), out, **attributes))
        return out[0] if outputs == 1 else out

    def linear(self, x, name):
        return self.node("Add", self.node("MatMul", x, self.weight(f"{name}.weight")), self.weight(f"{name}.bias"))

    def norm(self, x, name):
        return self.node("LayerNormalization", x, self.weight(f"{name}.weight"), self.weight(f"{name}.bias"), axis=-1, epsilon=1e-5)

    def mlp(self, x, l):
        return self.linear(self.node("Gelu", self.linear(x, f"h.{l}.mlp.c_fc"), approximate="tanh"), f"h.{l}.mlp.c_proj")

    def attention(self, x, l, n_head, d, n_tokens):
        split = self.const("split", np.array([d, d, d], np.int64))
        parts = self.node("Split", self.linear(x, f"h.{l}.attn.c_attn"), split, outputs=3, axis=2)
        heads = self.const("heads", np.array([1, n_tokens, n_head, d // n_head], np.int64))
        q, k, v = (self.node("Reshape", part, heads) for part in parts)
        q, v = (self.node("Transpose", part, perm=[0, 2, 1, 3]) for part in (q, v))
        k = self.node("Transpose", k, perm=[0, 2, 3, 1])
        mask = np.triu(np.full((n_tokens, n_tokens), -1e9, np.float32), 1)
        score = self.node("Mul", self.node("MatMul", q, k), self.const("scale", np.float32(1 / math.sqrt(d // n_head))))
        z = self.node("MatMul", self.node("Softmax", self.node("Add", score, self.const("mask", mask)), axis=-1), v)
        z = self.node("Transpose", z, perm=[0, 2, 1, 3])
        z = self.node("Reshape", z, self.const("joined", np.array([1, n_tokens, d], np.int64)))
        return self.linear(z, f"h.{l}.attn.c_proj")


def graph(case, config, w):
    g, d, n_tokens = Graph(w), config["n_embd"], config["n_positions"]
    if case == "mlp":
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, n_tokens, d])]
        out, width = g.mlp("x", 0), d
    else:
        inputs = [helper.make_tensor_value_info("ids", TensorProto.INT32, [1, n_tokens])]
        x = g.node("Add", g.node("Gather", g.weight("wte.weight"), "ids"), g.const("wpe", w["wpe.weight"][None, :n_tokens]))
        for l in range(config["n_layer"]):
            x = g.node("Add", x, g.attention(g.norm(x, f"h.{l}.ln_1"), l, config["n_head"], d, n_tokens))
            x = g.node("Add", x, g.mlp(g.norm(x, f"h.{l}.ln_2"), l))
        head = g.const("head", np.ascontiguousarray(w["wte.weight"].T))
        out, width = g.node("MatMul", g.norm(x, "ln_f"), head), config["vocab_size"]
    output = helper.make_tensor_value_info(out, TensorProto.FLOAT, [1, n_tokens, width])
    model = helper.make_graph(g.nodes, case, inputs, [output], g.initializers)
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def main(folder):
    for case, sizes in CASES.items():
        config = dict(sizes, model_type="gpt2", activation_function="gelu_new", layer_norm_epsilon=1e-5)
        w = weights(config)
        path = Path(folder) / case
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.json").write_text(json.dumps(config))
        save_file(w, path / "model.safetensors")
        model = graph(case, config, w)
        onnx.checker.check_model(model)
        onnx.save(model, path / "model.onnx")


if __name__ == "__main__":
    main(sys.argv[1])
