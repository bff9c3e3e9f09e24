#!/usr/bin/env python3
"""`tolmach plan` against what `tolmach train` then takes, on twelve configurations; a Markdown table.

  plan_vs_runs.py --tolmach target/release/tolmach --small NANO --small-data TOKENS.jsonl \
      --large SMOL --large-data TOKENS.jsonl --demo assets/demo/model --demo-data DEMO.jsonl

Small and large are model folders (15M and 135M parameters in our log) with token files; `--bf16` copies of both
are made in a temporary folder by rounding. Memory is compared as the operating system counts it (VmHWM); the time of
a step only makes sense where nothing else runs. The exit code is 1 if a memory is off by more than 5 %.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from round_weights import bf16_copy


def run(command: list[str]) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"exit code {done.returncode} from: {' '.join(command)}\n{done.stderr[-800:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def cases(args: argparse.Namespace, scratch: Path) -> list[tuple[str, list[str]]]:
    small = ["--base", str(args.small), "--data", str(args.small_data)]
    large = ["--base", str(args.large), "--data", str(args.large_data)]
    demo = ["--base", str(args.demo), "--data", str(args.demo_data)]
    small16 = ["--base", str(bf16_copy(args.small, scratch / "small-bf16")), "--data", str(args.small_data)]
    large16 = ["--base", str(bf16_copy(args.large, scratch / "large-bf16")), "--data", str(args.large_data)]
    steps = ["--max-steps", "2", "--step-tokens", "1200"]
    return [
        ("small, r 8", [*small, *steps, "--lora-rank", "8"]),
        ("small, r 64, dropout", [*small, *steps, "--lora-rank", "64", "--lora-dropout", "0.05"]),
        ("small, micro-batches of 2,048", [*small, *steps, "--step-tokens", "4096", "--micro-batch-tokens", "2048"]),
        ("small, all but one block again", [*small, *steps, "--memory", "@0.9"]),
        ("small, embed_tokens and lm_head too", [*small, *steps, "--modules-to-save", "embed_tokens,lm_head"]),
        ("small, trained in full", [*small, *steps, "--full"]),
        ("small bf16, r 16", [*small16, *steps]),
        ("demo, r 8", [*demo, *steps, "--lora-rank", "8"]),
        ("demo, validation, best kept", [*demo, *steps, "--validation", str(args.demo_data), "--keep-best"]),
        ("large, r 8", [*large, *steps, "--lora-rank", "8"]),
        ("large, as many blocks again as it takes", [*large, *steps, "--lora-rank", "8", "--memory", "@0.75"]),
        ("large bf16, r 16, q and v", [*large16, *steps, "--target-modules", "q_proj,v_proj"]),
    ]


def last_wins(flags: list[str]) -> list[str]:
    """Each flag once, with its last value."""
    values: dict[str, list[str]] = {}
    for flag in flags:
        if flag.startswith("--"):
            values.pop(flag, None)
            key = flag
            values[key] = []
        else:
            values[key].append(flag)
    return [part for flag, value in values.items() for part in (flag, *value)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolmach", type=Path, required=True)
    for name in ("small", "large", "demo"):
        parser.add_argument(f"--{name}", type=Path, required=True, help="model folder")
        parser.add_argument(f"--{name}-data", type=Path, required=True)
    parser.add_argument("--only", default="", help="cases with this in their name")
    args = parser.parse_args()
    worst = 0.0
    print("| configuration | planned, MiB | measured, MiB | off | blocks again | step planned, s | step measured, s |")
    print("|---|---:|---:|---:|---:|---:|---:|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name, flags in cases(args, scratch):
            if args.only not in name:
                continue
            flags = last_wins(flags)
            if "--memory" in flags:
                # `@0.9`: that part of what the same run takes without a bound.
                at = flags.index("--memory") + 1
                free = run([str(args.tolmach), "plan", *flags[: at - 1], "--json"])["memory"]["total"]
                flags[at] = str(int(free * float(flags[at].removeprefix("@"))))
            plan = run([str(args.tolmach), "plan", *flags, "--json"])
            done = run([str(args.tolmach), "train", *flags, "-o", str(scratch / "out"), "--force", "--json"])
            planned, measured = plan["memory"]["total"], done["peak_rss_bytes"]
            off = planned / measured - 1
            worst = max(worst, abs(off))
            print(
                f"| {name} | {planned / 2**20:.1f} | {measured / 2**20:.1f} | {100 * off:+.1f} % | {plan['recompute']}"
                f" of {plan['blocks']} | {plan['time']['step_seconds']:.2f} | {done['seconds'] / done['steps']:.2f} |",
                flush=True,
            )
    print(f"worst: {100 * worst:.1f} %", file=sys.stderr)
    return 1 if worst > 0.05 else 0


if __name__ == "__main__":
    sys.exit(main())
