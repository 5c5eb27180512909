"""Times a forward pass of transformers: random ids, f32, sdpa, no key-value cache, inference mode.

Two results a shape: logits of all positions, and of the last alone (`logits_to_keep=1`), which is how transformers
generates. The figure is the median; the first run is not counted.
"""

import argparse
import statistics
import time
from pathlib import Path

from common import fail, load_model, memory_bytes, need, report, versions


def parse_shapes(text: str) -> list[tuple[int, int]]:
    try:
        return [(int(batch), int(pos)) for batch, pos in (shape.split("x") for shape in text.split(","))]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; expected prompts x tokens: 1x18,16x18,…") from None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="model folder in Hugging Face's layout, or a GGUF file")
    parser.add_argument("--shapes", type=parse_shapes, default="1x18,16x18,4x130", help="default: 1x18,16x18,4x130")
    parser.add_argument("--runs", type=int, default=7, help="timed runs of a shape; default: 7")
    parser.add_argument("--threads", type=int, default=2, help="default: 2")
    parser.add_argument("--json", action="store_true", help="one JSON line a result")
    args = parser.parse_args()
    if args.runs < 1 or args.threads < 1:
        fail("--runs and --threads are at least 1")

    torch = need("torch")
    torch.set_num_threads(args.threads)
    model = load_model(args.model, attn_implementation="sdpa")
    generator = torch.Generator().manual_seed(0)
    for batch, pos in args.shapes:
        ids = torch.randint(0, model.config.vocab_size, (batch, pos), generator=generator)
        # 0 keeps all.
        for logits, to_keep in {"all": 0, "last": 1}.items():
            seconds = []
            for _ in range(args.runs + 1):
                start = time.perf_counter()
                with torch.inference_mode():
                    model(ids, use_cache=False, logits_to_keep=to_keep)
                seconds.append(time.perf_counter() - start)
            result = {
                "library": "transformers",
                "job": "forward",
                "batch": batch,
                "n_tokens": pos,
                "logits": logits,
                "seconds": statistics.median(seconds[1:]),
                "all_seconds": seconds[1:],
                "peak_rss_bytes": memory_bytes("VmHWM"),
                "threads": torch.get_num_threads(),
                "attention": model.config._attn_implementation,
                "versions": versions("torch", "transformers"),
            }
            report(result, args.json)


if __name__ == "__main__":
    main()
