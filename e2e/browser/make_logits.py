"""Writes logits.json: what the native program computes for the embedded solver, to compare the page with.

    cargo build --release -p native-trainer
    python3 e2e/browser/make_logits.py

For each length: ids of base and source, and for the tokens that lead in any of the runs the logits of the base run,
of the base run with the direction of web/examples/op5.safetensors swapped in at the last token, and of the source run.
`SWIVEL` names another program than target/release/swivel. Takes seconds; the prompts are fixed.
"""

import json
import os
import pathlib
import random
import struct
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("SWIVEL", str(ROOT / "target/release/swivel"))
DIRECTION = "op5.safetensors"
LENGTHS = [1, 11, 131, 256]
D_VOCAB = 922
COMMA, EQUALS, LINE, ANSWERS = 11, 28, 198, [258, 262]
N_LEADING = 16


def rows(path):
    """Last rows of the tensors of a safetensors file."""
    data = path.read_bytes()
    n_header = struct.unpack("<Q", data[:8])[0]
    tensors = json.loads(data[8 : 8 + n_header])
    tensors.pop("__metadata__", None)
    found = {}
    for name, tensor in tensors.items():
        assert tensor["dtype"] == "F32", tensor
        start, end = tensor["data_offsets"]
        values = struct.unpack(f"<{(end - start) // 4}f", data[8 + n_header + start : 8 + n_header + end])
        found[name] = values[-tensor["shape"][-1] :]
    return found


def prompt(draw, length):
    """The end of a text of the task, up to a comma: many words may follow."""
    ids = []
    while len(ids) < length + 12:
        words = [draw.randrange(281, D_VOCAB) for _ in range(5)]
        ids += [token for word in words for token in (word, COMMA)]
        ids[-1:] = [EQUALS, draw.choice(ANSWERS), LINE]
    while ids[-1] != COMMA:
        ids.pop()
    return ids[-length:]


def apply(base, source, folder):
    last = [[len(base) - 1]]
    op = {"type": "low_rank", "direction": DIRECTION}
    intervention = {"layer": 2, "component": "block_output", "source": 0, "base_positions": last, "op": op}
    plan = {"version": 1, "base": {"ids": [base]}, "sources": [{"ids": [source]}], "interventions": [intervention]}
    (folder / "plan.json").write_text(json.dumps(plan))
    out = folder / "out.safetensors"
    out.unlink(missing_ok=True)
    command = [PROGRAM, "apply", folder / "plan.json", "--device", "flex", "--out", out]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return rows(out)


def main():
    cases = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        (folder / DIRECTION).write_bytes((ROOT / "web/examples" / DIRECTION).read_bytes())
        for length in LENGTHS:
            # One where base and source are answered differently.
            for seed in range(100):
                draw = random.Random(seed)
                base, source = prompt(draw, length), prompt(draw, length)
                if length == 1:
                    source = [EQUALS]
                there, back = apply(base, source, folder), apply(source, base, folder)
                runs = [there["logits.base"], there["logits.intervened"], back["logits.base"]]
                if len({run.index(max(run)) for run in runs}) > 1:
                    break
            assert all(len(run) == D_VOCAB for run in runs)
            leading = {
                token
                for run in runs
                for token in sorted(range(D_VOCAB), key=lambda token: -run[token])[:N_LEADING]
            }
            logits = {str(token): [round(run[token], 6) for run in runs] for token in sorted(leading)}
            cases.append({"base": base, "source": source, "logits": logits})
    lines = ",\n".join("  " + json.dumps(case, separators=(",", ":")) for case in cases)
    (pathlib.Path(__file__).parent / "logits.json").write_text(f"[\n{lines}\n]\n")


main()
