#!/usr/bin/env python3
"""Replies: ours against llama.cpp on the same GGUF files, in alternating runs.

Runs the example `decode_rate` and `llama-bench` in turn on each file: a prompt from an empty cache, and tokens one
by one from an empty cache. Prints one JSON line a file with the medians in tokens/s, and the median of the ratios
ours / llama.cpp within each round: what else uses the memory changes from minute to minute. A llama-bench that crashes
counts as no rate, and is told.

    cargo build --release -p tolmach-export --example decode_rate
    python benches/chat_vs_llamacpp.py --ours target/release/examples/decode_rate --llama-bench BIN/llama-bench \\
        smol-f16.gguf smol-Q8_0.gguf smol-Q4_0.gguf

`--below 1.0` makes a ratio below it the exit status 1.
"""
import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path


def ours(args, path: Path) -> dict:
    command = [args.ours, path, "--threads", args.threads, "--prompt", args.prompt, "--decode", args.decode,
               "--repetitions", args.repetitions, "--activations", args.activations]
    out = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
    rates = json.loads(out)
    return {"prompt": rates["prompt_tokens_per_second"], "decode": rates["decode_tokens_per_second"]}


def theirs(args, path: Path) -> dict:
    command = [args.llama_bench, "-m", path, "-t", args.threads, "-p", args.prompt, "-n", args.decode,
               "-r", args.repetitions, "-o", "json"]
    run = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if run.returncode != 0:
        print(f"{args.llama_bench.name} ended with {run.returncode} on {path.name}", file=sys.stderr)
        return {"prompt": [], "decode": []}
    rates = {"prompt": [], "decode": []}
    for row in json.loads(run.stdout):
        rates["prompt" if row["n_prompt"] else "decode"] += row["samples_ts"]
    return rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL.gguf")
    parser.add_argument("--ours", required=True, type=Path, help="the example decode_rate")
    parser.add_argument("--llama-bench", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prompt", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("--decode", type=int, default=64, help="tokens of the reply")
    parser.add_argument("--repetitions", type=int, default=1, help="of each side in each round")
    parser.add_argument("--rounds", type=int, default=5, help="ours, llama.cpp, ours, …")
    parser.add_argument("--activations", choices=["int8", "f32"], default="int8")
    parser.add_argument("--below", type=float, help="fail if a ratio is below this")
    args = parser.parse_args()
    low = False
    for path in args.models:
        rounds = [(ours(args, path), theirs(args, path)) for _ in range(args.rounds)]
        line = {"model": path.name, "threads": args.threads}
        for kind in ("prompt", "decode"):
            medians = [[statistics.median(side[kind]) if side[kind] else None for side in pair] for pair in rounds]
            a, b = ([m for m in side if m] for side in zip(*medians, strict=True))
            ratios = [round(ours / theirs, 2) for ours, theirs in medians if ours and theirs]
            ratio = statistics.median(ratios) if ratios else None
            ours_rate, their_rate = (round(statistics.median(side), 1) if side else None for side in (a, b))
            line[kind] = {"ours": ours_rate, "llama.cpp": their_rate}
            line[kind] |= {"ratio": ratio, "ratios": ratios}
            low |= args.below is not None and (ratio is None or ratio < args.below)
        print(json.dumps(line), flush=True)
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
