#!/usr/bin/env python3
"""`tolmach train` against transformers + PEFT on one model and one token file, in alternating pairs.

  train_vs_peft.py --tolmach target/release/tolmach --python VENV/bin/python --base MODEL --data TOKENS.jsonl

Each pair is ours, then PEFT's; a row for every run goes to stderr, one JSON object with the ratios to stdout.
A ratio of rates above 1 means that we are faster; a ratio of memories below 1 that we need less.
Rates are tokens per second without padding. PEFT's leaves out loading and its warm-up steps, ours is
`tokens_per_second` of `tolmach train --json`. Memory is the peak that the operating system saw for the process.
Nothing else should run meanwhile: `other load` in a row is the processor use, in cores, that was not the run's own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

PEER = Path(__file__).resolve().parent / "peft_train.py"


class RunFailed(Exception):
    """A command that failed or printed no result; the message holds the command and its last words."""


@dataclass
class Run:
    tokens_per_second: float
    peak_bytes: int
    seconds: float
    other_load: float
    final_loss: float


def processor_seconds() -> float:
    """Busy time of all cores since boot."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str]) -> Run:
    """Run a command whose last line of stdout is a JSON object with `tokens_per_second` and `losses`."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as log:
        busy, start = processor_seconds(), time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        others = processor_seconds() - busy - usage.ru_utime - usage.ru_stime
        out.seek(0)
        log.seek(0)
        lines, words = out.read().strip().splitlines(), log.read()[-600:]
    if process.returncode != 0:
        raise RunFailed(f"exit code {process.returncode} from: {' '.join(command)}\n{words}")
    try:
        result = json.loads(lines[-1])
        rate, loss = float(result["tokens_per_second"]), float(result["losses"][-1])
    except (IndexError, KeyError, ValueError) as error:
        raise RunFailed(f"no result ({error!r}) from: {' '.join(command)}") from error
    return Run(rate, usage.ru_maxrss * 1024, seconds, max(0.0, others / seconds), loss)


def commands(args: argparse.Namespace, scratch: str) -> tuple[list[str], list[str]]:
    """Ours and the peer's, with the same model, data, rank, alpha, learning rate, number of threads."""
    same = ["--lora-rank", str(args.lora_rank), "--lora-alpha", str(args.lora_alpha)]
    same += ["--learning-rate", str(args.learning_rate), "--data", str(args.data)]
    if args.threads:
        same += ["--threads", str(args.threads)]
    ours = [str(args.tolmach), "train", "--base", str(args.base), "-o", f"{scratch}/adapter", "--force", "--json"]
    ours += ["--max-steps", str(args.steps), *same, *args.ours]
    peer = [str(args.python), str(PEER), "--model", str(args.base), "--steps", str(args.steps)]
    peer += ["--batching", args.batching, "--examples", str(args.examples), "--row-tokens", str(args.row_tokens), *same]
    return ours, peer


def report(pair: int, name: str, run: Run) -> None:
    print(
        f"pair {pair}  {name:8}{run.tokens_per_second:10.1f} tokens/s {run.peak_bytes / 2**20:8.0f} MiB"
        f" {run.seconds:7.1f} s  loss {run.final_loss:.4f}  other load {run.other_load:.2f} cores",
        file=sys.stderr,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolmach", type=Path, required=True, help="our binary")
    parser.add_argument("--python", type=Path, required=True, help="Python with fixtures/golden/requirements.txt")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--data", type=Path, required=True, help='JSONL of {"input_ids": […], "labels": […]}')
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each run (default 20)")
    parser.add_argument("--batching", choices=["padded", "packed"], default="padded", help="PEFT's (default padded)")
    parser.add_argument("--examples", type=int, default=4, help="PEFT's examples in a padded batch (default 4)")
    parser.add_argument("--row-tokens", type=int, default=512, help="PEFT's packed row (default 512)")
    parser.add_argument("--lora-rank", type=int, default=8)
    parser.add_argument("--lora-alpha", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=0, help="0: each program's default")
    parser.add_argument("ours", nargs="*", help="after --: more flags for `tolmach train`")
    args = parser.parse_args()
    pairs: list[tuple[Run, Run]] = []
    with tempfile.TemporaryDirectory() as scratch:
        ours, peer = commands(args, scratch)
        try:
            for number in range(1, args.pairs + 1):
                pairs.append((measure(ours), measure(peer)))
                report(number, "tolmach", pairs[-1][0])
                report(number, "peft", pairs[-1][1])
        except (RunFailed, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    rates = [a.tokens_per_second / b.tokens_per_second for a, b in pairs]
    memories = [a.peak_bytes / b.peak_bytes for a, b in pairs]
    print(
        json.dumps(
            {
                "batching": args.batching,
                "rate_ratio": round(statistics.median(rates), 3),
                "memory_ratio": round(statistics.median(memories), 3),
                "rate_ratios": [round(r, 3) for r in rates],
                "tokens_per_second": round(statistics.median(a.tokens_per_second for a, _ in pairs), 1),
                "peft_tokens_per_second": round(statistics.median(b.tokens_per_second for _, b in pairs), 1),
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
