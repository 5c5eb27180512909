"""Writes a GPT-2 with random weights in Hugging Face's layout, for timing: speed does not depend on what a model knows.

The default is GPT-2 small (124M), f32, head tied. The vocabulary is GPT-2's, made from its merges: 256 bytes, one token
a merge, <|endoftext|>. Same seed and versions, same file.
"""

import argparse
import json
from pathlib import Path

from common import fail, need


def byte_symbols() -> list[str]:
    """GPT-2's symbols of the 256 bytes in the order of its vocabulary: printable bytes, then the others, moved to 256 and up."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    n_others = 256 - len(printable)
    return [chr(code) for code in [*printable, *range(256, 256 + n_others)]]


def read_merges(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    return [line for line in lines if line and not line.startswith("#version")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder to write; it must not hold a model yet")
    parser.add_argument("--merges", type=Path, required=True, help="GPT-2's merges.txt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-layers", type=int, default=12)
    parser.add_argument("--n-heads", type=int, default=12)
    parser.add_argument("--d-model", type=int, default=768)
    args = parser.parse_args()
    if (args.out / "config.json").exists():
        fail(f"{args.out} holds a model already")
    torch, transformers = need("torch"), need("transformers")

    merges = read_merges(args.merges)
    tokens = [*byte_symbols(), *(merge.replace(" ", "") for merge in merges), "<|endoftext|>"]
    vocab = {token: token_id for token_id, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        fail(f"{args.merges}: {len(tokens) - len(vocab)} merges give a token that is there already")
    end = vocab["<|endoftext|>"]

    torch.manual_seed(args.seed)
    config = transformers.GPT2Config(
        vocab_size=len(vocab),
        n_layer=args.n_layers,
        n_head=args.n_heads,
        n_embd=args.d_model,
        bos_token_id=end,
        eos_token_id=end,
    )
    model = transformers.GPT2LMHeadModel(config)
    model.save_pretrained(args.out)
    (args.out / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (args.out / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    print(f"{args.out}: {model.num_parameters():,} parameters, {len(vocab)} tokens")


if __name__ == "__main__":
    main()
