#!/usr/bin/env python3
"""`tolmach train` against transformers + PEFT and Unsloth on one model and one token file, in alternating rounds.

  train_vs_peers.py --tolmach target/release/tolmach --python VENV/bin/python --base MODEL --data TOKENS.jsonl \\
      --peers padded packed --rounds 3

A round is ours, then each peer, then (with --matmul) torch's own matrix products of the model's shapes. A row for every
run goes to stderr, one JSON object with the medians and the ratios (ours / the peer's of the same round) to stdout.
A ratio of rates above 1 means that we are faster; a ratio of memories below 1 that we need less. With --matmul ours runs
with --profile, and `roofline` is the useful arithmetic of its steps, FLOP/s, over torch.matmul's in the same round.
Rates are tokens per second without padding. The peers' leave out loading and their warm-up steps, ours is
`tokens_per_second` of `tolmach train --json`, cold first step included. Memory is the peak that the operating system
saw for the process. Nothing else should run meanwhile: `other load` is the processor use, in cores, that was not the run's own.

Peers: padded (micro-batches padded to their longest: what Trainer does by default), packed (rows without padding),
padded-checkpointed, packed-checkpointed (activations recomputed), each also with -bf16 (weights and products in bf16,
the others are f32), unsloth (padded; its own rounding) and unsloth-nf4.
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

HERE = Path(__file__).resolve().parent
PEERS = [f"{b}{c}{d}" for b in ("padded", "packed") for c in ("", "-checkpointed") for d in ("", "-bf16")]
PEERS += ["unsloth", "unsloth-nf4"]


class RunFailed(Exception):
    """A command that failed or printed no result; the message holds the command and its last words."""


@dataclass
class Run:
    result: dict
    peak_bytes: int
    seconds: float
    other_load: float

    @property
    def rate(self) -> float:
        return float(self.result["tokens_per_second"])


def processor_seconds() -> float:
    """Busy time of all cores since boot."""
    user, nice, system, _idle, _iowait, irq, softirq = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def measure(command: list[str], key: str = "tokens_per_second") -> Run:
    """Run a command whose last line of stdout is a JSON object with a number under `key`."""
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
        float(result[key])
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise RunFailed(f"no result ({error!r}) from: {' '.join(command)}") from error
    return Run(result, usage.ru_maxrss * 1024, seconds, max(0.0, others / seconds))


def ours(args: argparse.Namespace, scratch: str) -> list[str]:
    command = [str(args.tolmach), "train", "--base", str(args.our_base or args.base), "--data", str(args.data)]
    command += ["-o", f"{scratch}/adapter", "--force", "--json", "--max-steps", str(args.steps)]
    command += ["--profile"] if args.matmul else []
    return command + hyperparameters(args) + args.ours


def peer(args: argparse.Namespace, name: str) -> list[str]:
    """The peer's command, with the same model, data, rank, alpha, learning rate, number of threads."""
    batching, *variants = name.split("-")
    if batching == "unsloth":
        command = [str(args.unsloth_python or args.python), str(HERE / "unsloth_train.py")]
        command += ["--nf4"] if variants else []
    else:
        command = [str(args.python), str(HERE / "peft_train.py"), "--batching", batching]
        command += ["--row-tokens", str(args.row_tokens)]
        command += ["--checkpointed"] if "checkpointed" in variants else []
        command += ["--dtype", "bf16" if "bf16" in variants else "f32"]
    command += ["--model", str(args.base), "--data", str(args.data), "--examples", str(args.examples)]
    return command + ["--steps", str(args.peer_steps or args.steps), "--warmup", str(args.warmup), *hyperparameters(args)]


def matmul(args: argparse.Namespace) -> list[str]:
    command = [str(args.python), str(HERE / "matmul_rate.py"), "--model", str(args.base)]
    return command + (["--threads", str(args.threads)] if args.threads else [])


def hyperparameters(args: argparse.Namespace) -> list[str]:
    same = ["--lora-rank", str(args.lora_rank), "--lora-alpha", str(args.lora_alpha)]
    same += ["--learning-rate", str(args.learning_rate)]
    return same + (["--threads", str(args.threads)] if args.threads else [])


def report(number: int, name: str, run: Run) -> None:
    loss = f"loss {run.result['losses'][-1]:.4f}" if "losses" in run.result else f"{run.result.get('gflops', 0):.0f} GFLOP/s"
    print(
        f"round {number}  {name:24}{run.rate:10.1f} tokens/s {run.peak_bytes / 2**20:8.0f} MiB"
        f" {run.seconds:7.1f} s  {loss}  other load {run.other_load:.2f} cores",
        file=sys.stderr,
        flush=True,
    )


def summary(rounds: list[dict[str, Run]]) -> dict:
    """Medians over the rounds, and of the ratios within each round."""

    def column(name: str, of: str) -> list[float]:
        return [getattr(r[name], of) for r in rounds]

    def against(name: str, of: str) -> list[float]:
        return [round(a / b, 3) for a, b in zip(column("tolmach", of), column(name, of), strict=True)]

    out = {
        "tokens_per_second": round(statistics.median(column("tolmach", "rate")), 1),
        "peak_bytes": statistics.median(column("tolmach", "peak_bytes")),
        "peers": {},
    }
    for name in rounds[0]:
        if name == "tolmach":
            continue
        rates = against(name, "rate")
        entry = {"tokens_per_second": round(statistics.median(column(name, "rate")), 1)}
        entry |= {"rate_ratio": statistics.median(rates), "rate_ratios": rates}
        if name == "torch.matmul":
            profiles = [r["tolmach"].result["profile"] for r in rounds]
            shares = [p["gflop_per_second"] / r[name].result["gflops"] for p, r in zip(profiles, rounds, strict=True)]
            entry |= {"gflops": round(statistics.median(r[name].result["gflops"] for r in rounds), 1)}
            entry |= {"roofline": round(statistics.median(shares), 3), "rooflines": [round(s, 3) for s in shares]}
            entry |= {"time_went": {part["part"]: round(part["share"], 3) for part in profiles[-1]["parts"]}}
        else:
            memories = against(name, "peak_bytes")
            entry |= {"peak_bytes": statistics.median(column(name, "peak_bytes")), "memory_ratio": statistics.median(memories)}
        out["peers"][name] = entry
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolmach", type=Path, required=True, help="our binary")
    parser.add_argument("--python", type=Path, required=True, help="Python with fixtures/golden/requirements.txt")
    parser.add_argument("--unsloth-python", type=Path, help="Python with unsloth, where it has an environment of its own")
    parser.add_argument("--base", type=Path, required=True, help="Hugging Face folder")
    parser.add_argument("--our-base", type=Path, help="the same model in other weights, for our side (round_weights.py)")
    parser.add_argument("--data", type=Path, required=True, help='JSONL of {"input_ids": […], "labels": […]}')
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["padded", "packed"], metavar="PEER")
    parser.add_argument("--matmul", action="store_true", help="torch.matmul on the model's shapes in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20, help="optimizer steps of each run (default 20)")
    parser.add_argument("--peer-steps", type=int, help="a peer's timed steps, where other than ours")
    parser.add_argument("--warmup", type=int, default=2, help="a peer's steps before the timed ones (default 2)")
    parser.add_argument("--examples", type=int, default=4, help="examples in a padded batch (default 4)")
    parser.add_argument("--row-tokens", type=int, default=512, help="PEFT's packed row (default 512)")
    parser.add_argument("--lora-rank", type=int, default=8)
    parser.add_argument("--lora-alpha", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--threads", type=int, default=0, help="0: each program's default")
    parser.add_argument("--ours", nargs=argparse.REMAINDER, default=[], help="last: more flags for `tolmach train`")
    args = parser.parse_args()
    rounds: list[dict[str, Run]] = []
    with tempfile.TemporaryDirectory() as scratch:
        commands = {"tolmach": ours(args, scratch)} | {name: peer(args, name) for name in args.peers}
        if args.matmul:
            commands["torch.matmul"] = matmul(args)
        try:
            for number in range(1, args.rounds + 1):
                rounds.append({})
                for name, command in commands.items():
                    rounds[-1][name] = measure(command)
                    report(number, name, rounds[-1][name])
        except (RunFailed, OSError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print(json.dumps(summary(rounds)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
