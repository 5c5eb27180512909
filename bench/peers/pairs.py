"""Writes random pairs as JSON lines, for timing: ids and labels uniform over the vocabulary, one length, one position.

The format is that of `swivel data`: {"base": [ids], "source": [ids], "base_position", "source_position", "label"}.
"""

import argparse
import json
import random
from pathlib import Path

from common import fail


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--n-pairs", type=int, required=True)
    parser.add_argument("--n-tokens", type=int, required=True, help="length of each prompt")
    parser.add_argument("--vocab", type=int, default=50257)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--position", type=int, help="of both prompts; default: the last token")
    args = parser.parse_args()
    position = args.n_tokens - 1 if args.position is None else args.position
    if not 0 <= position < args.n_tokens:
        fail(f"--position {position} is outside the prompt of {args.n_tokens} tokens")

    rng = random.Random(args.seed)
    with args.out.open("w") as out:
        for _ in range(args.n_pairs):
            base, source = ([rng.randrange(args.vocab) for _ in range(args.n_tokens)] for _ in range(2))
            label = rng.randrange(args.vocab)
            pair = {"base": base, "source": source, "base_position": position, "source_position": position, "label": label}
            out.write(json.dumps(pair) + "\n")


if __name__ == "__main__":
    main()
