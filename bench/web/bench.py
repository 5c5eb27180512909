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
import tempfile
import threading
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHROMIUM = [
    "--headless=new", "--no-sandbox", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
    "--disable-quic", "--disable-background-timer-throttling",
]  # fmt: skip


class Handler(http.server.SimpleHTTPRequestHandler):
    extensions_map = {".html": "text/html", ".js": "text/javascript", ".mjs": "text/javascript", ".wasm": "application/wasm"}

    def __init__(self, *args, roots, answers, **kwargs):
        self.roots, self.answers = roots, answers
        super().__init__(*args, **kwargs)

    def translate_path(self, path):
        first, _, rest = path.partition("?")[0].lstrip("/").partition("/")
        return str(self.roots[first] / rest if first in self.roots else HERE / first)

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
    parser.add_argument("--ort", type=Path, required=True, help="folder dist of the npm package onnxruntime-web")
    parser.add_argument("--models", type=Path, required=True, help="folder that make_model.py wrote")
    parser.add_argument("--burn", action="append", required=True, metavar="NAME=FOLDER", help="output of wasm-bindgen; may be given several times")
    parser.add_argument("--chromium", default="chromium")
    parser.add_argument("--case", action="append", help="mlp, gpt2 or solver; default all")
    parser.add_argument("--device", action="append", help="cpu or webgpu; default both")
    parser.add_argument("--runs", type=int, default=3, help="fresh browsers for each row")
    parser.add_argument("--seconds", type=float, default=5, help="measured time of one run")
    args = parser.parse_args()

    # Each build twice: as burn computes, and with the crate `swivel-kernels`.
    folders = dict(pair.split("=", 1) for pair in args.burn)
    burns = [name + suffix for name in folders for suffix in ("", "+kernels")]
    sides = ["ort", *burns]
    answers = queue.Queue()
    roots = {"ort": args.ort.resolve(), "models": args.models.resolve(), "burn": None}
    roots = {name: root for name, root in roots.items() if root}
    handler = functools.partial(Handler, roots=roots, answers=answers)

    def translate(self, path, old=Handler.translate_path):
        parts = path.partition("?")[0].strip("/").split("/")
        return str(Path(folders[parts[1]], *parts[2:]).resolve()) if parts[0] == "burn" else old(self, path)

    Handler.translate_path = translate
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()

    print("| device | case | build | ms | onnxruntime-web, ms | speed, onnxruntime-web = 1 (least to most) | difference |")
    print("|---|---|---|---:|---:|---:|---:|")
    for device in args.device or ["cpu", "webgpu"]:
        for case in args.case or ["mlp", "gpt2", "solver"]:
            results = []
            for _ in range(args.runs):
                query = urllib.parse.urlencode(dict(case=case, device=device, seconds=args.seconds, sides=",".join(sides)))
                answer = visit(args.chromium, f"http://127.0.0.1:{server.server_port}/page.html?{query}", answers, 400)
                if "error" in answer:
                    print(f"| {device} | {case} | | | | {answer['error'][:300]!r} | |", flush=True)
                    break
                results.append(answer["ok"])
            for side in burns if results else []:
                ms = {s: statistics.median(statistics.median(r["times"][s]) for r in results) for s in ("ort", side)}
                # One ratio per run, of neighbours in time.
                ratios = [statistics.median(o / b for o, b in zip(r["times"]["ort"], r["times"][side])) for r in results]
                spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
                difference = max(r["difference"] for r in results)
                print(f"| {device} | {case} | {side} | {ms[side]:.2f} | {ms['ort']:.2f} | {spread} | {difference:.0e} |", flush=True)


if __name__ == "__main__":
    main()
