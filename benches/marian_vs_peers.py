#!/usr/bin/env python3
"""The engine `marian` against transformers and CTranslate2 on one model and the same sentences, in turns.

  marian_vs_peers.py --ours target/release/examples/marian_rate --python VENV/bin/python \\
      --model FOLDER --converted CT2_FOLDER --sentences FILE

Makes rounds of: ours in f32 and int8, transformers, CTranslate2 int8 (one batch per thread, its fastest way here),
with greedy search and with four beams; three rounds take about six minutes on two free cores, `--rounds 1` two. A row
for every run goes to stderr, one JSON object to stdout: the medians of the rates (output tokens per second, and per
second of processor time) and of the ratios within a round. Nothing else should run meanwhile: `other load` in a row is
the processor use, in cores, that was not the run's own; the ratios of processor time suffer less from it.

`--agreement` measures instead how far int8 answers are those of f32: the share of the tokens that are the same at the
same place, of first tokens that are, and chrF of the ids as words; greedy, ours against ours, CTranslate2's int8
against transformers.
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


def measure(command: list[str]) -> tuple[dict, float]:
    """What the command's last line of stdout tells, and the load of others meanwhile."""
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
    return json.loads(lines[-1]), max(0.0, others / seconds)


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


RATES = {"wall": "tokens_per_second", "processor": "tokens_per_processor_second"}


def compare(args: argparse.Namespace, beams: int) -> dict:
    """Medians over the rounds, of the rates and of their ratios within a round."""
    rounds: list[dict[str, dict]] = []
    for number in range(1, args.rounds + 1):
        rounds.append({})
        for name, command in commands(args, beams).items():
            found, others = measure(command)
            rounds[-1][name] = found
            wall, busy = (found[key] for key in RATES.values())
            row = f"round {number}  beams {beams}  {name:18}{wall:9.1f} tokens/s {busy:9.1f} per processor second"
            print(f"{row}  other load {others:.2f} cores", file=sys.stderr, flush=True)
    result = {}
    for clock, key in RATES.items():
        median = lambda values: round(statistics.median(values), 2)
        names = list(rounds[0])
        result[clock] = {name: median([r[name][key] for r in rounds]) for name in names}
        for ours in filter(lambda name: name.startswith("tolmach"), names):
            for peer in filter(lambda name: not name.startswith("tolmach"), names):
                result[clock][f"{ours} / {peer}"] = median([r[ours][key] / r[peer][key] for r in rounds])
    return result


def agreement(args: argparse.Namespace) -> dict:
    """Greedy answers in int8 beside those in f32."""
    import sacrebleu

    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, command in commands(args, 1).items():
            path = Path(folder) / name.replace(" ", "-")
            measure([*command, *([] if name.startswith("tolmach") else ["--answers"]), str(path)])
            # The last token is forced by the length, but not in CTranslate2.
            answers[name] = [json.loads(line)[:-1] for line in path.read_text().splitlines()]
    result = {}
    for exact, int8 in (("tolmach f32", "tolmach int8"), ("transformers", "ctranslate2 int8"), ("transformers", "tolmach f32")):
        if int8 not in answers:
            continue
        pairs = list(zip(answers[exact], answers[int8], strict=True))
        same = [a == b for x, y in pairs for a, b in zip(x, y)]
        words = [[" ".join(map(str, row)) for row in answers[name]] for name in (int8, exact)]
        result[f"{int8} against {exact}"] = {
            "same_tokens": round(statistics.mean(same), 4),
            "same_first_tokens": round(statistics.mean(x[0] == y[0] for x, y in pairs), 4),
            "chrf": round(sacrebleu.corpus_chrf(words[0], [words[1]]).score, 2),
        }
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", type=Path, required=True, help="the example `marian_rate` of tolmach-translate")
    parser.add_argument("--python", type=Path, required=True, help="Python with transformers (and ctranslate2)")
    parser.add_argument("--model", type=Path, required=True, help="as make_marian.py writes it")
    parser.add_argument("--converted", type=Path, help="the same by ct2-transformers-converter --quantization int8")
    parser.add_argument("--sentences", type=Path, required=True, help="one a line")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--agreement", action="store_true", help="compare answers, not rates (needs sacrebleu)")
    parser.add_argument("--batch", type=int, default=32, help="the peers' sentences in a batch")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    result = agreement(args) if args.agreement else {f"beams {n}": compare(args, n) for n in args.beams}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
