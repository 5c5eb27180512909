#!/usr/bin/env python3
"""A map in parts by Ray: one task a part, tried again when its machine goes away, then merged.

    pip install ray
    python examples/ray_sweep.py --parts 8 --out map.safetensors -- --variable op5,op3

What stands after `--` goes to `swivel sweep`. Ray decides where tasks run: on this machine, or on the cluster that RAY_ADDRESS
names. No folder need be shared, since parts come back through Ray; where the map's folder is shared, a part that is tried again
goes on where it stopped. `swivel` must be on the PATH of each machine, or --swivel says where it is.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import ray


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", type=int, required=True, help="tasks that the map is divided into")
    parser.add_argument("--out", type=Path, required=True, help="where the map goes")
    parser.add_argument("--swivel", default="swivel", help="the program")
    parser.add_argument("--cpus", type=float, default=1, help="processors that a task asks Ray for")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs that a task asks Ray for")
    parser.add_argument("--retries", type=int, default=3, help="times that a part is tried again")
    parser.add_argument("sweep", nargs="*", help="options of swivel sweep, after --")
    return parser.parse_args()


@ray.remote
def compute(swivel: str, options: list[str], shard: str, part: Path) -> bytes:
    """The bytes of one part."""
    command = [swivel, "sweep", *options, "--shard", shard, "--out", str(part)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"part {shard} ended with status {done.returncode}: {done.stderr.strip()}")
    return part.read_bytes()


def main() -> None:
    args = arguments()
    out = args.out.resolve()
    if out.exists():
        sys.exit(f"{out} is there already; choose another name, or remove it")
    out.parent.mkdir(parents=True, exist_ok=True)
    ray.init()
    task = compute.options(
        num_cpus=args.cpus, num_gpus=args.gpus, max_retries=args.retries, retry_exceptions=True
    )
    parts = {}
    for number in range(1, args.parts + 1):
        part = out.with_name(f"{out.stem}-{number}of{args.parts}.safetensors")
        shard = f"{number}/{args.parts}"
        parts[task.remote(args.swivel, args.sweep, shard, part)] = part
    waiting = list(parts)
    while waiting:
        [done], waiting = ray.wait(waiting)
        parts[done].write_bytes(ray.get(done))
        print(f"{parts[done].name} is done, {len(waiting)} to come", flush=True)
    subprocess.run([args.swivel, "merge", *parts.values(), "--out", out], check=True)


if __name__ == "__main__":
    main()
