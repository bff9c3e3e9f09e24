#!/usr/bin/env python3
"""A peer of train_vs_peers.py: LoRA on a token file with Unsloth on a CPU (unsloth 2026.10 or later).

Its own model class, its adapter, its checkpointing of activations and its loss over labelled rows in chunks, on the
batches of peft_train.py (padded; it switches packing off on a CPU). Prints the same JSON object.
"""

import argparse
import json
import os
import resource
import sys
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("UNSLOTH_DISABLE_STATISTICS", "1")

import unsloth  # noqa: I001 (it has to come before what it patches)
import torch
from unsloth import FastLanguageModel

from peft_train import LINEARS, endless, padded


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
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=args.learning_rate, weight_decay=0.0, fused=True)
    losses, tokens, trained, slots, seconds = [], 0, 0, 0, 0.0
    for step in range(args.warmup + args.steps):
        batch = next(batches)
        start = time.perf_counter()
        loss = model(**batch.inputs).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if step >= args.warmup:
            seconds += time.perf_counter() - start
            tokens, trained, slots = tokens + batch.tokens, trained + batch.trained, slots + batch.slots
    return {
        "batching": "padded",
        "dtype": "nf4" if args.nf4 else "f32",
        "chunked_loss": chunked,
        "steps": args.steps,
        "tokens": tokens,
        "trained_tokens": trained,
        "padding_share": round(1 - tokens / slots, 4),
        "seconds": round(seconds, 3),
        "tokens_per_second": round(tokens / seconds, 2),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "threads": torch.get_num_threads(),
        "losses": losses,
        "versions": {"unsloth": unsloth.__version__, "torch": torch.__version__},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="Hugging Face folder")
    parser.add_argument("--data", type=Path, required=True, help='JSONL of {"input_ids": […], "labels": […]}')
    parser.add_argument("--nf4", action="store_true", help="frozen weights in NF4 (bitsandbytes)")
    parser.add_argument("--examples", type=int, default=4, help="examples in a padded micro-batch (default 4)")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default 20)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (default 2)")
    parser.add_argument("--lora-rank", type=int, default=8)
    parser.add_argument("--lora-alpha", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=2e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    if args.threads:
        torch.set_num_threads(args.threads)
    result = run(args)
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
