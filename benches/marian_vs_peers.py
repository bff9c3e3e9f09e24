#!/usr/bin/env python3
"""The engine `marian` against transformers and CTranslate2 on one model and the same sentences, in turns.

  marian_vs_peers.py --ours target/release/examples/marian_rate --python VENV/bin/python \\
      --model FOLDER --converted CT2_FOLDER --sentences FILE

Makes a round of: ours in f32 and int8, transformers, CTranslate2 int8 (one batch per thread, its fastest way here),
with greedy search and with four beams. A row for every run goes to stderr, one JSON object with the medians of the
rates (output tokens per second) and their ratios to stdout. Nothing else should run meanwhile: `other load` in a row
is the processor use, in cores, that was not the run's own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PEER = Path(__file__).resolve().parent / "marian_peer.py"


def processor_seconds() -> float:
    """Busy time of all cores since boot."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str]) -> tuple[float, float]:
    """The rate that the command's last line of stdout tells, and the load of others meanwhile."""
    with tempfile.TemporaryFile("w+") as out:
        busy, start = processor_seconds(), time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        out.seek(0)
        lines = out.read().strip().splitlines()
    if process.returncode != 0 or not lines:
        raise SystemExit(f"error: exit code {process.returncode} from: {' '.join(command)}")
    others = processor_seconds() - busy - usage.ru_utime - usage.ru_stime
    return float(json.loads(lines[-1])["tokens_per_second"]), max(0.0, others / seconds)


def commands(args: argparse.Namespace, beams: int) -> dict[str, list[str]]:
    same = ["--sentences", str(args.sentences), "--beams", str(beams), "--tokens", str(args.tokens)]
    same += ["--threads", str(args.threads), "--batch", str(args.batch)]
    peer = [str(args.python), str(PEER), *same]
    ours = [str(args.ours), str(args.model), str(args.sentences), str(beams), str(args.tokens)]
    found = {f"tolmach {weights}": [*ours, weights, str(args.threads)] for weights in ("f32", "int8")}
    found["transformers"] = [*peer, "--engine", "transformers", "--model", str(args.model)]
    if args.converted:
        converted = ["--model", str(args.converted), "--tokenizer", str(args.model), "--inter"]
        found["ctranslate2 int8"] = [*peer, "--engine", "ctranslate2", *converted]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=Path, required=True, help="the example `marian_rate` of tolmach-translate")
    parser.add_argument("--python", type=Path, required=True, help="Python with transformers (and ctranslate2)")
    parser.add_argument("--model", type=Path, required=True, help="as make_marian.py writes it")
    parser.add_argument("--converted", type=Path, help="the same by ct2-transformers-converter --quantization int8")
    parser.add_argument("--sentences", type=Path, required=True, help="one a line")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32, help="the peers' sentences in a batch")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    result = {}
    for beams in args.beams:
        rates: dict[str, list[float]] = {}
        for number in range(1, args.rounds + 1):
            for name, command in commands(args, beams).items():
                rate, others = measure(command)
                rates.setdefault(name, []).append(rate)
                row = f"round {number}  beams {beams}  {name:18}{rate:9.1f} tokens/s  other load {others:.2f} cores"
                print(row, file=sys.stderr, flush=True)
        medians = {name: round(statistics.median(found), 1) for name, found in rates.items()}
        peers = [name for name in medians if not name.startswith("tolmach")]
        ratios = {
            f"{ours} / {peer}": round(medians[ours] / medians[peer], 2)
            for ours in ("tolmach f32", "tolmach int8")
            for peer in peers
        }
        result[f"beams {beams}"] = {"tokens_per_second": medians, "ratios": ratios}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
