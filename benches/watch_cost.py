"""What an open training page costs the training: `tolmach train` with and without one, in pairs.

The page's side is the real server (`tolmach serve --runs`) and a client that asks what `training.js` asks: the
stream of news, and after news the five curves, at most every `PAUSE` seconds, and the samples when there are
more. The page only looks on; nobody types into it. Server and client run on the training's own cores.

    python benches/watch_cost.py --tolmach target/release/tolmach --base MODEL --data TOKENS.jsonl

Prints tokens/s of each run and the slowdown of each pair; exit code 1 if the median is 10 % or more. Two runs
without a page in the same rounds (`--control`) show how much of it is noise.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

PAUSE = 1.5  # seconds between two drawings, as in plots.js
CURVES = ["loss", "learning-rate", "gradient-norm", "tokens-per-second", "memory"]


class Page:
    """An open page: it ends with the `with` block."""

    def __init__(self, tolmach, runs):
        command = [tolmach, "serve", "--listen", "127.0.0.1:0", "--runs", str(runs)]
        self.server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        line = next(line for line in self.server.stderr if "http://" in line)
        self.address = line[line.index("http://") :].split()[0]
        self.news, self.requests = 0, 0
        threading.Thread(target=lambda: [None for _ in self.server.stderr], daemon=True).start()
        threading.Thread(target=self.follow, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.kill()
        self.server.wait()

    def get(self, path):
        self.requests += 1
        with urllib.request.urlopen(self.address + path, timeout=30) as answer:
            return answer.read()

    def follow(self):
        drawn, samples = 0.0, None
        try:
            self.get("/ui/runs")
            with urllib.request.urlopen(self.address + "/ui/runs/events", timeout=60) as stream:
                for line in stream:
                    if not line.startswith(b"data:"):
                        continue
                    run = json.loads(line[5:])
                    self.news += 1
                    if run["samples_bytes"] != samples:
                        samples = run["samples_bytes"]
                        self.get(f"/ui/runs/{run['id']}/samples")
                    if time.monotonic() - drawn >= PAUSE:
                        drawn = time.monotonic()
                        for curve in CURVES:
                            self.get(f"/ui/runs/plot/{curve}?runs={run['id']}&width=600&language=en")
        except OSError:
            pass  # the server was ended


def train(args, folder):
    command = [args.tolmach, "train", "--json", "--base", args.base, "--data", args.data, "-o", str(folder)]
    command += ["--max-steps", str(args.steps), "--step-tokens", str(args.step_tokens)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout)["tokens_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolmach", default="target/release/tolmach")
    parser.add_argument("--base", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--step-tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--control", action="store_true", help="a second run without a page in each round")
    args = parser.parse_args()
    slowdowns, noise = [], []
    for number in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            runs = Path(folder)

            def watched():
                with Page(args.tolmach, runs) as page:
                    return train(args, runs / "watched"), page

            # Each goes first in every second round.
            if number % 2 == 0:
                alone = train(args, runs / "alone")
                seen, page = watched()
            else:
                seen, page = watched()
                alone = train(args, runs / "alone")
            slowdowns.append(1 - seen / alone)
            line = f"alone {alone:.0f} tokens/s, watched {seen:.0f}: {slowdowns[-1]:+.1%} slower"
            line += f" ({page.news} news, {page.requests} requests)"
            if args.control:
                again = train(args, runs / "again")
                noise.append(1 - again / alone)
                line += f"; alone again {again:.0f}: {noise[-1]:+.1%}"
            print(line, flush=True)
    report = {"slowdown": statistics.median(slowdowns), "all": slowdowns, "control": noise}
    print(json.dumps(report))
    sys.exit(0 if report["slowdown"] < 0.1 else 1)


if __name__ == "__main__":
    main()
