"""Times TransformerLens making a map: `resid_post` changed at every layer and position of one pair, one run a cell.

After TransformerLens' demo "Activation Patching in TransformerLens" (demos/Activation_Patching_in_TL_Demo.ipynb): the
library's own loop `patching.generic_activation_patch` over ("layer", "pos"). It names `get_act_patch_resid_pre` and
others; `resid_post` (our `block_output`) is the same call with another site. Its "corrupted" run is our base, "clean"
our source.

- interchange: the source's value at the same position. zero: 0. mean: the mean over the sources of PAIRS at that position.
- Read at the last token, with `label` the pair's and `answer` its `base_label`, or the base run's top-1 token:
  logit_difference = logit of label - logit of answer; probability = of label, 0..1; kl = KL(base ‖ intervened), nats.

What favours TransformerLens, on purpose: inference mode, only `resid_post` is kept of the source run, and the number of
threads is the one with which a run is fastest. Weights are those of the folder, nothing folded, so that the numbers can
be compared; the model is built by hand because `from_pretrained` asks the Hub for the configuration even when it is
given the model.
A timed run is the source run (for mean: of all sources) and all cells. All metrics of `--out` are taken in an untimed run before.
"""

import argparse
import json
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common import fail, load_model, memory_bytes, need, read_pairs, report, set_threads, versions

METRICS = ["logit_difference", "probability", "kl"]
SITE = "resid_post"


def load_hooked(folder: Path, ids: Any) -> tuple[Any, float]:
    """The folder's GPT-2 as HookedTransformer, and how far its logits are from transformers' (largest difference)."""
    lens, conversions = need("transformer_lens"), need("transformer_lens.pretrained.weight_conversions")
    hf = load_model(folder)
    config = lens.HookedTransformerConfig(
        n_layers=hf.config.n_layer,
        d_model=hf.config.n_embd,
        n_ctx=hf.config.n_positions,
        n_heads=hf.config.n_head,
        d_head=hf.config.n_embd // hf.config.n_head,
        d_mlp=hf.config.n_inner or 4 * hf.config.n_embd,
        d_vocab=hf.config.vocab_size,
        act_fn=hf.config.activation_function,
        eps=hf.config.layer_norm_epsilon,
        normalization_type="LN",
        original_architecture="GPT2LMHeadModel",
        init_weights=False,
        device="cpu",
    )
    model = lens.HookedTransformer(config)
    model.load_and_process_state_dict(
        conversions.convert_gpt2_weights(hf, config),
        fold_ln=False,
        center_writing_weights=False,
        center_unembed=False,
        fold_value_biases=False,
        refactor_factored_attn_matrices=False,
    )
    model.eval().requires_grad_(False)
    return model, (model(ids) - hf(ids).logits).abs().max().item()


def make_metrics(base_row: Any, label: int, answer: int) -> dict[str, Callable[[Any], Any]]:
    """Functions of `[1, pos, d_vocab]` logits; `base_row` is `[d_vocab]`."""
    base = base_row.log_softmax(-1)

    def kl(logits: Any) -> Any:
        return (base.exp() * (base - logits[0, -1].log_softmax(-1))).sum()

    return {
        "logit_difference": lambda logits: logits[0, -1, label] - logits[0, -1, answer],
        "probability": lambda logits: logits[0, -1].softmax(-1)[label],
        "kl": kl,
    }


def make_setter(op: str, patching: Any) -> Callable[[Any, list[int], Any], Any]:
    """TransformerLens' setter: (activation `[1, pos, d_model]`, [layer, pos], what was kept at this site) -> activation."""

    def set_zero(activation: Any, index: list[int], _kept: Any) -> Any:
        activation[:, index[1]] = 0.0
        return activation

    def set_mean(activation: Any, index: list[int], kept: Any) -> Any:
        activation[:, index[1]] = kept[:, index[1]].mean(0)
        return activation

    return {"interchange": patching.layer_pos_patch_setter, "zero": set_zero, "mean": set_mean}[op]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder in Hugging Face's layout")
    parser.add_argument("pairs", type=Path, help="JSON lines; the map is of the first pair")
    parser.add_argument("--metric", choices=METRICS, default=METRICS[0], help="of the timed runs; default: %(default)s")
    parser.add_argument("--op", choices=["interchange", "zero", "mean"], default="interchange", help="default: %(default)s")
    parser.add_argument("--runs", type=int, default=3, help="timed maps; default: 3")
    parser.add_argument("--out", type=Path, help="JSON file for the map's numbers, [layer][position] each")
    parser.add_argument("--threads", type=int, help="default: as many as are fastest")
    parser.add_argument("--json", action="store_true", help="one JSON line")
    args = parser.parse_args()
    if args.runs < 0:
        fail("--runs is at least 0")

    pairs = read_pairs(args.pairs, None if args.op == "mean" else 1)
    patching = need("transformer_lens.patching")
    torch = need("torch")
    base, source = (torch.tensor([pairs[0][side]]) for side in ("base", "source"))  # [1, pos]
    kept_of = torch.tensor([pair["source"] for pair in pairs]) if args.op == "mean" else source  # [batch, pos]

    with torch.inference_mode():
        model, difference = load_hooked(args.model, base)
        loaded_rss_bytes = memory_bytes("VmRSS")
        thread_seconds = set_threads(args.threads, lambda: model(base))
        base_row = model(base)[0, -1]  # [d_vocab]
        label = pairs[0]["label"]
        answer = pairs[0].get("base_label", base_row.argmax().item())
        metrics = make_metrics(base_row, label, answer)
        setter = make_setter(args.op, patching)

        def make_map(metric: Callable[[Any], Any]) -> Any:
            """`[layer, pos]`"""
            kept: Any = defaultdict(lambda: None)  # Zero takes nothing from another run.
            if args.op != "zero":
                _, kept = model.run_with_cache(kept_of, names_filter=lambda name: name.endswith(f"hook_{SITE}"))
            patch = partial(patching.generic_activation_patch, activation_name=SITE, index_axis_names=("layer", "pos"))
            return patch(model, base, kept, metric, setter)

        values: dict[str, list[float]] = {name: [] for name in METRICS}

        def all_metrics(logits: Any) -> Any:
            for name, metric in metrics.items():
                values[name].append(metric(logits).item())
            return metrics[args.metric](logits)

        expected = make_map(all_metrics)
        seconds = []
        for _ in range(args.runs):
            start = time.perf_counter()
            found = make_map(metrics[args.metric])
            seconds.append(time.perf_counter() - start)
            torch.testing.assert_close(found, expected)

    n_layers, n_tokens = expected.shape
    result = {
        "library": "transformer_lens",
        "job": "map",
        "component": SITE,
        "op": args.op,
        "metric": args.metric,
        "n_layers": n_layers,
        "n_tokens": n_tokens,
        "cells": n_layers * n_tokens,
        "seconds": statistics.median(seconds) if seconds else None,
        "run_seconds": seconds,
        "peak_rss_bytes": memory_bytes("VmHWM"),
        "loaded_rss_bytes": loaded_rss_bytes,
        "threads": torch.get_num_threads(),
        "thread_seconds": thread_seconds,
        "difference_from_transformers": difference,
        "versions": versions("torch", "transformers", "transformer-lens"),
    }
    if args.out:
        rows = {name: [cells[i : i + n_tokens] for i in range(0, len(cells), n_tokens)] for name, cells in values.items()}
        base_values = {name: metric(base_row[None, None]).item() for name, metric in metrics.items()}
        about = {name: result[name] for name in ("component", "op", "versions")}
        about |= {"pair": pairs[0], "label": label, "answer": answer, "base": base_values}
        args.out.write_text(json.dumps(about | rows) + "\n")
    report(result, args.json)


if __name__ == "__main__":
    main()
