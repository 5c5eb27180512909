"""What the scripts of this folder share: packages with a clear error, pairs, memory, threads, one JSON line a result."""

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

PAIR_FIELDS = {"base", "source", "base_position", "source_position", "label"}


def fail(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def need(name: str) -> ModuleType:
    """Imports a package; what it prints while doing so goes to stderr, so that stdout stays JSON."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except ModuleNotFoundError as error:
        fail(f"the Python package {error.name} is missing: pip install -r {Path(__file__).with_name('requirements.txt')}")


def versions(*packages: str) -> dict[str, str]:
    return {"python": sys.version.split()[0]} | {name: importlib.metadata.version(name) for name in packages}


def set_threads(n_threads: int | None, trial: Callable[[], Any]) -> dict[int, float]:
    """Sets torch's threads: as told, or the number with which `trial` is fastest. Returns the seconds of each number tried.

    All cores are not always best: beside other busy processes torch's threads wait for one another.
    """
    torch = need("torch")
    n_cores = len(os.sched_getaffinity(0))
    seconds: dict[int, float] = {}
    for candidate in [n_threads] if n_threads else sorted({1, (n_cores + 1) // 2, n_cores}):
        torch.set_num_threads(candidate)
        times = []
        for _ in range(3):
            start = time.perf_counter()
            trial()
            times.append(time.perf_counter() - start)
        seconds[candidate] = min(times)
    torch.set_num_threads(min(seconds, key=seconds.__getitem__))
    return seconds


def memory_bytes(field: str) -> int:
    """`VmHWM` is the most memory this process has had so far, `VmRSS` what it has now. Linux only."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    fail(f"/proc/self/status has no {field}")


def read_pairs(path: Path, n_pairs: int | None = None) -> list[dict[str, Any]]:
    """The first `n_pairs` pairs of a JSON-lines file, or all; every prompt of a file has one length."""
    pairs: list[dict[str, Any]] = []
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    for number, line in enumerate(lines, 1):
        if n_pairs is not None and len(pairs) == n_pairs:
            break
        try:
            pair = json.loads(line)
        except json.JSONDecodeError as error:
            fail(f"{path}:{number}: {error}")
        if not isinstance(pair, dict) or (missing := PAIR_FIELDS - pair.keys()):
            fail(f"{path}:{number}: fields missing: {', '.join(sorted(missing if isinstance(pair, dict) else PAIR_FIELDS))}")
        n_tokens = len((pairs[0] if pairs else pair)["base"])
        if len(pair["base"]) != n_tokens or len(pair["source"]) != n_tokens:
            fail(f"{path}:{number}: prompts of {len(pair['base'])} and {len(pair['source'])} tokens; expected {n_tokens}")
        pairs.append(pair)
    if len(pairs) < (n_pairs or 1):
        fail(f"{path} holds {len(pairs)} pairs; {n_pairs or 1} are needed")
    return pairs


def load_model(path: Path, **options: Any) -> Any:
    """The local model folder or GGUF file in f32, in evaluation mode, without weight gradients."""
    transformers, torch = need("transformers"), need("torch")
    transformers.logging.set_verbosity_error()
    folder, is_gguf = path, path.suffix == ".gguf"
    if is_gguf:
        need("gguf")
        folder, options = path.parent, options | {"gguf_file": path.name}
    if not (path if is_gguf else path / "config.json").is_file():
        fail(f"{path} is no GGUF file" if is_gguf else f"{path} is no model folder: config.json is missing")
    with contextlib.redirect_stdout(sys.stderr):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **options)
    if is_gguf:
        # The weights are held twice while they are widened, which is not what is measured.
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    return model.eval().requires_grad_(False)


def report(result: dict[str, Any], as_json: bool) -> None:
    """One JSON line on stdout, or one `name: value` a line."""
    if as_json:
        print(json.dumps(result), flush=True)
    else:
        print("\n".join(f"{name}: {value}" for name, value in result.items()), end="\n\n", flush=True)
