"""Times pyvene learning a direction (DAS), step by step, with pyvene's own loop `IntervenableModel.train_alignment`.

Two jobs, after two of pyvene's tutorials:
- "Trainable Interventions" (tutorials/basic_tutorials/Intervention_Training.ipynb): one direction at one layer and
  position, batches of 64, Adam 1e-3 with linear warm-up and decay.
- "IOI with DAS" (tutorials/advanced_tutorials/IOI_with_DAS.ipynb), `--cells`: a direction for each of many layers and
  positions, batches of 20. A few cells are timed, one result each; their seconds a step times the cells of a map give
  the map. The tutorial's learning rate is 1e-2 (`--lr`).

What favours pyvene, on purpose: the loss is the cross-entropy of the label at the last token only (the first tutorial
copies the logits of all positions), no key-value cache is made, no model weight has a gradient, locations are static
within a batch (`use_fast`), and the number of threads is the one with which a forward pass is fastest. Attention is what
transformers picks, as in the tutorials.
The model may be any that pyvene knows; of a GGUF file transformers widens the weights to f32.
A step is timed from batch to batch: both runs, loss, backward pass, optimizer, metric.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import fail, load_model, memory_bytes, need, read_pairs, report, set_threads, versions


class TimedBatches:
    """Hands out batches and remembers when: what lies between two of them is one training step."""

    def __init__(self, batches: list[dict[str, Any]], synchronize: Any):
        self.batches, self.synchronize, self.seconds = batches, synchronize, []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.batches:
            start = time.perf_counter()
            yield batch
            self.synchronize()
            self.seconds.append(time.perf_counter() - start)


def make_batches(pairs: list[dict[str, Any]], size: int, position: int | None, device: str) -> list[dict[str, Any]]:
    torch = need("torch")
    batches = []
    for start in range(0, len(pairs), size):
        rows = pairs[start : start + size]

        def column(name: str, rows: list[dict[str, Any]] = rows) -> Any:
            return torch.tensor([row[name] for row in rows], device=device)

        def places(name: str, rows: list[dict[str, Any]] = rows) -> list[list[int]]:
            return [[row[name] if position is None else position] for row in rows]

        batches.append(
            {
                "input_ids": column("base"),
                "source_input_ids": column("source"),
                "labels": column("label"),
                "source_0->base.0.pos": places("source_position"),
                "source_0->base.1.pos": places("base_position"),
            }
        )
    return batches


def loss_at_last_token(logits: Any, labels: Any) -> Any:
    return need("torch").nn.functional.cross_entropy(logits[:, -1], labels)


def accuracy_at_last_token(logits: list[Any], labels: list[Any]) -> dict[str, float]:
    return {"accuracy": (logits[0][:, -1].argmax(-1) == labels[0]).float().mean().item()}


def is_static(batches: list[dict[str, Any]]) -> bool:
    """Whether the rows of every batch have one position: what pyvene's `use_fast` asks for."""
    places = [batch[f"source_0->base.{side}.pos"] for batch in batches for side in (0, 1)]
    return all(rows.count(rows[0]) == len(rows) for rows in places)


def train(
    model: Any, layer: int, batches: list[dict[str, Any]], test: list[dict[str, Any]], args: argparse.Namespace
) -> dict[str, Any]:
    """Learns for `args.epochs` over the batches; `losses` are those of every step, the warm-up first. `iia` is that of `test`."""
    torch, pyvene = need("torch"), need("pyvene")
    torch.manual_seed(args.seed)  # pyvene draws the initial direction from the global generator.
    place = {
        "layer": layer,
        "component": args.component,
        "unit": "pos",
        "low_rank_dimension": args.rank,
        "intervention_type": pyvene.LowRankRotatedSpaceIntervention,
    }
    use_fast = is_static(batches)
    intervenable = pyvene.IntervenableModel(pyvene.IntervenableConfig([place]), model=model, use_fast=use_fast)
    intervenable.set_device(args.device)
    intervenable.disable_model_gradients()
    losses: list[float] = []

    def compute_loss(logits: Any, labels: Any) -> Any:
        loss = loss_at_last_token(logits, labels)
        losses.append(loss.item())
        return loss

    timed = TimedBatches(batches, torch.cuda.synchronize if args.device.startswith("cuda") else lambda: None)
    intervenable.train_alignment(timed, compute_loss, accuracy_at_last_token, None, epochs=args.epochs, lr=args.lr)
    seconds = timed.seconds[args.warm_up :]
    # To score, pyvene wants a number; while it trains, a dict.
    iia = intervenable.eval_alignment(test, lambda *given: accuracy_at_last_token(*given)["accuracy"], None) if test else None
    return {
        "seconds_per_pair": statistics.median(seconds) / args.batch,
        "batch_seconds": seconds,
        "whole_seconds": sum(timed.seconds),
        "warm_up_seconds": timed.seconds[: args.warm_up],
        "losses": losses,
        "use_fast": use_fast,
        "iia": iia,
    }


def parse_cells(text: str) -> list[tuple[int, int]]:
    try:
        return [(int(layer), int(position)) for layer, position in (cell.split(":") for cell in text.split(","))]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected layer:position,layer:position,…") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder in Hugging Face's layout, or a GGUF file")
    parser.add_argument("pairs", type=Path, help="JSON lines, as `swivel data` or pairs.py writes them")
    parser.add_argument("--layer", type=int, help="default: the last")
    parser.add_argument("--position", type=int, help="of both prompts; default: the pairs' own")
    parser.add_argument("--cells", type=parse_cells, help="layer:position,layer:position,… in place of --layer, --position")
    parser.add_argument("--component", default="block_output", help="default: block_output")
    parser.add_argument("--rank", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--batch", type=int, help="pairs a batch; default: 64, with --cells 20")
    parser.add_argument("--batches", type=int, default=3, help="timed batches; default: 3")
    parser.add_argument("--epochs", type=int, default=1, help="over all batches, the warm-up's too; default: 1")
    parser.add_argument("--test", type=Path, help="held-out pairs that the direction is scored on, as the pairs")
    parser.add_argument("--warm-up", type=int, default=1, help="batches before the timed ones; default: 1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="default: as many as are fastest")
    parser.add_argument("--device", default="cpu", help="cpu (default) or cuda")
    parser.add_argument("--json", action="store_true", help="one JSON line a result")
    args = parser.parse_args()
    if args.cells and (args.layer is not None or args.position is not None):
        fail("--cells stands in place of --layer and --position")
    args.batch = args.batch or (20 if args.cells else 64)
    if min(args.batch, args.batches, args.epochs) < 1 or args.warm_up < 0:
        fail("--batch, --batches and --epochs are at least 1, --warm-up at least 0")

    pairs = read_pairs(args.pairs, args.batch * (args.batches + args.warm_up))
    need("pyvene")
    torch = need("torch")
    model = load_model(args.model, use_cache=False).to(args.device)
    ids = torch.tensor([pair["base"] for pair in pairs[: min(args.batch, 8)]], device=args.device)
    with torch.inference_mode():
        thread_seconds = set_threads(args.threads, lambda: model(ids))
    n_tokens, n_layers = len(pairs[0]["base"]), model.config.num_hidden_layers
    cells = args.cells or [(n_layers - 1 if args.layer is None else args.layer, args.position)]
    for layer, position in cells:
        if not 0 <= layer < n_layers or not 0 <= (position or 0) < n_tokens:
            place = f"layer {layer}" if position is None else f"layer {layer}, position {position}"
            fail(f"{place}: the model has {n_layers} layers, the prompts {n_tokens} tokens")

    for layer, position in cells:
        batches = make_batches(pairs, args.batch, position, args.device)
        test = make_batches(read_pairs(args.test), args.batch, position, args.device) if args.test else []
        result = {
            "library": "pyvene",
            "job": "das_cell" if args.cells else "das",
            "layer": layer,
            "position": pairs[0]["base_position"] if position is None else position,
            "component": args.component,
            "rank": args.rank,
            "batch": args.batch,
            "epochs": args.epochs,
            "n_tokens": n_tokens,
            **train(model, layer, batches, test, args),
            "peak_rss_bytes": memory_bytes("VmHWM"),  # Of the process so far: a later cell never shows less.
            "threads": torch.get_num_threads(),
            "thread_seconds": thread_seconds,
            "device": args.device,
            "attention": model.config._attn_implementation,
            "versions": versions("torch", "transformers", "pyvene"),
        }
        report(result, args.json)


if __name__ == "__main__":
    main()
