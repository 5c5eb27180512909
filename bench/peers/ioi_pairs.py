"""Writes pairs like those of indirect object identification (Wang et al. 2023, https://arxiv.org/abs/2211.00593).

    In the morning, when Mary and John went to the store, John gave a drink to

Base and source have names of their own. What differs is which of the first two names the second subject repeats: the label
is what the base's answer would be if it were the one that the source's repeats. The position is the second subject's.
Half of the labels are another name than the base's own answer.

The prompts are 18 tokens: each word is a whole piece of the model's vocabulary, which is read from its GGUF file.
Gemma's begin with <bos>, and are 19. The format is that of `swivel data`.
"""

import argparse
import json
import random
from pathlib import Path

from common import fail, need

NAMES = ["Mary", "John", "Tom", "James", "Anna", "Paul", "Mark", "David", "Sarah", "Peter", "Laura", "Kevin"]
PLACES = ["store", "park", "school", "office", "house", "garden"]
OBJECTS = ["drink", "book", "ring", "ball", "letter", "gift"]


def read_pieces(path: Path) -> tuple[dict[str, int], str]:
    """The vocabulary of a GGUF file, and what stands for a space in it."""
    gguf = need("gguf")
    if not path.is_file():
        fail(f"{path} is no file")
    fields = gguf.GGUFReader(path).fields
    pieces = fields["tokenizer.ggml.tokens"].contents()
    space = "Ġ" if fields["tokenizer.ggml.model"].contents() == "gpt2" else "▁"
    return {piece: token_id for token_id, piece in enumerate(pieces)}, space


def words(first: str, second: str, subject: str, place: str, thing: str) -> list[str]:
    """The prompt's words; a comma is a word of its own."""
    text = f"In the morning , when {first} and {second} went to the {place} , {subject} gave a {thing} to"
    return text.split(" ")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="GGUF file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--n-pairs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    vocab, space = read_pieces(args.model)
    start = [vocab["<bos>"]] if "<bos>" in vocab else []

    def id_of(word: str, is_first: bool = False) -> int:
        piece = word if word == "," or is_first else space + word
        return vocab[piece] if piece in vocab else fail(f"{args.model} has no piece for {word!r}")

    rng = random.Random(args.seed)
    with args.out.open("w") as out:
        for number in range(args.n_pairs):
            repeats_first, is_turned = rng.random() < 0.5, number % 2 == 0
            names = rng.sample(NAMES, 4)
            prompts = {}
            for side, pair in {"base": names[:2], "source": names[2:]}.items():
                subject = pair[0 if repeats_first != (side == "source" and is_turned) else 1]
                text = words(*pair, subject, rng.choice(PLACES), rng.choice(OBJECTS))
                prompts[side] = start + [id_of(word, idx == 0) for idx, word in enumerate(text)]
            # Who gives is the source's, so who is given to is the other.
            label = names[1 if repeats_first != is_turned else 0]
            position = len(start) + text.index(",", text.index("when")) + 1
            places = {"base_position": position, "source_position": position}
            out.write(json.dumps(prompts | places | {"label": id_of(label)}) + "\n")


if __name__ == "__main__":
    main()
