#!/usr/bin/env python3
"""A peer of train_vs_peers.py: LoRA on a token file with Unsloth on a CPU (unsloth 2026.10 or later).

Its own model class, its adapter, its checkpointing of activations and its loss over labelled rows in chunks, on the
batches of peft_train.py (padded; it switches packing off on a CPU). Prints the same JSON object.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")

import unsloth  # noqa: I001 (it has to come before what it patches)
import torch
from unsloth import FastLanguageModel

from peft_train import LINEARS, add_arguments, endless, padded, timed_steps


def load(args: argparse.Namespace) -> tuple[torch.nn.Module, bool]:
    """The model, and whether its chunked loss could be switched on."""
    model, _ = FastLanguageModel.from_pretrained(
        args.model,
        max_seq_length=512,
        dtype=None if args.nf4 else torch.float32,
        load_in_4bit=args.nf4,
        use_gradient_checkpointing="unsloth",
    )
    model = FastLanguageModel.get_peft_model(
        model,
        r=args.lora_rank,
        lora_alpha=args.lora_alpha,
        lora_dropout=0.0,
        target_modules=LINEARS,
        use_gradient_checkpointing="unsloth",
    ).train()
    chunked = False
    for part in (model, model.base_model, model.base_model.model):
        if vars(part).get("_unsloth_cpu_chunked_ce"):  # what its trainer does for each training step
            part._unsloth_cpu_chunked_ce_active = chunked = True
    return model, chunked


def run(args: argparse.Namespace) -> dict:
    model, chunked = load(args)
    rows = [json.loads(line) for line in args.data.read_text().splitlines()]
    batches = padded(endless(rows, args.seed), args.examples)
    return {
        "batching": "padded",
        "dtype": "nf4" if args.nf4 else "f32",
        "chunked_loss": chunked,
        **timed_steps(model, batches, args),
        "versions": {"unsloth": unsloth.__version__, "torch": torch.__version__},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser)
    parser.add_argument("--nf4", action="store_true", help="frozen weights in NF4 (bitsandbytes)")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    print(json.dumps(run(args)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
