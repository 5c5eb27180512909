"""Speed of Swivel's forward pass in headless Chromium beside onnxruntime-web's; prints a Markdown table.

README.md beside this file says how to run it.
"""

import argparse
import contextlib
import functools
import http.server
import json
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
ORT = "1.30.0"
SIDES = ["ort", "burn", "ours"]
CHROMIUM = [
    "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-quic", "--disable-background-timer-throttling",
]  # fmt: skip


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *args, folders, answers, **kwargs):
        self.folders, self.answers = folders, answers
        super().__init__(*args, **kwargs)

    def translate_path(self, path):
        first, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        return str(self.folders[first] / rest if rest else HERE / first)

    def end_headers(self):
        # Isolated pages get the fine clock.
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def do_POST(self):
        self.answers.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


def build(work, options, model):
    """Models, onnxruntime-web and the burn side; only the last is built again when it is there."""
    work.mkdir(parents=True, exist_ok=True)
    run = functools.partial(subprocess.run, check=True, stdout=sys.stderr)
    python = work / "venv" / "bin" / "python"
    if not python.exists():
        run([sys.executable, "-m", "venv", work / "venv"])
        run([python, "-m", "pip", "install", "--quiet", "onnx", "numpy", "safetensors"])
    if not (work / "models").exists():
        run([python, HERE / "make_model.py", work / "models"])
    if model and not (work / "models" / "smollm2").exists():
        run([python, HERE / "make_llama.py", model, work / "models" / "smollm2"])
    if not (work / "node_modules").exists():
        run(["npm", "install", "--silent", "--prefix", work, f"onnxruntime-web@{ORT}"])
    target = ["--target", "wasm32-unknown-unknown"]
    run(["cargo", "build", "--package", "swivel-bench-web", *target, "--profile", "web", *options], cwd=HERE)
    metadata = subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version=1"], cwd=HERE)
    wasm = Path(json.loads(metadata)["target_directory"]) / target[1] / "web" / "swivel_bench_web.wasm"
    run(["wasm-bindgen", "--target", "web", "--out-dir", work / "burn", wasm])
    return {
        "ort": work / "node_modules" / "onnxruntime-web" / "dist",
        "models": work / "models",
        "burn": work / "burn",
    }


def visit(chromium, url, answers, limit_secs):
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [chromium, *CHROMIUM, f"--user-data-dir={profile}", url]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            answer = answers.get(timeout=limit_secs)
        except queue.Empty:
            answer = {"error": f"no answer in {limit_secs} s"}
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
    return answer


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=HERE / "../../target/bench-web", help="folder for what is built and fetched")
    parser.add_argument("--cargo", action="append", default=[], help="one more argument of cargo build, such as --config=...")
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--case", action="append", help="mlp, gpt2, solver or smollm2; default all that are there")
    parser.add_argument("--model", type=Path, help="SmolLM2 135M for the case smollm2: folder with config.json and model.safetensors")
    parser.add_argument("--side", action="append", help="burn, ours, or half (ours with matrices in f16); default burn and ours")
    parser.add_argument("--device", action="append", help="cpu or webgpu; default both")
    parser.add_argument("--runs", type=int, default=3, help="fresh browsers for each row")
    parser.add_argument("--seconds", type=float, default=5, help="measured time of one run")
    args = parser.parse_args()

    folders = build(args.work.resolve(), args.cargo, args.model)
    sides = ["ort", *(args.side or SIDES[1:])]
    answers = queue.Queue()
    handler = functools.partial(Handler, folders=folders, answers=answers)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    print("| device | case | kernels | ms | onnxruntime-web, ms | speed, onnxruntime-web = 1 (least to most) | a late toggle, forward pass = 1 | difference |")
    print("|---|---|---|---:|---:|---:|---:|---:|")
    for device in args.device or ["cpu", "webgpu"]:
        # On a software adapter a forward pass of the large model takes minutes.
        large = ["smollm2"] if device == "cpu" and (folders["models"] / "smollm2").exists() else []
        for case in args.case or ["mlp", "gpt2", "solver", *large]:
            results = []
            for _ in range(args.runs):
                query = urllib.parse.urlencode(dict(case=case, device=device, seconds=args.seconds, sides=",".join(sides)))
                answer = visit(args.chromium, f"http://127.0.0.1:{server.server_port}/page.html?{query}", answers, 400)
                if "error" in answer:
                    print(f"| {device} | {case} | | | | {answer['error'][:300]!r} | | |", flush=True)
                    break
                results.append(answer["ok"])
            for side in sides[1:] if results else []:
                ms = {s: statistics.median(statistics.median(r["times"][s]) for r in results) for s in ("ort", side)}
                # One ratio per run, of neighbours in time.
                ratios = [statistics.median(o / b for o, b in zip(r["times"]["ort"], r["times"][side])) for r in results]
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                difference = max(r["difference"] for r in results)
                toggles = [r["toggles"][side] for r in results if side in r["toggles"]]
                late = f"{statistics.median(toggles):.3f}" if toggles else "–"
                print(f"| {device} | {case} | {side} | {ms[side]:.2f} | {ms['ort']:.2f} | {spread} | {late} | {difference:.0e} |", flush=True)


if __name__ == "__main__":
    main()
