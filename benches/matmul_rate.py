#!/usr/bin/env python3
"""What torch.matmul reaches on a model's own linear layers, in f32: the roofline of train_vs_peers.py.

Each shape forward (x · Wᵀ) and backward (dy · W), over so many copies of the weights that they come from memory as in
training, the best of the repetitions. Prints one JSON object: `gflops` is the rate of all shapes as often as a step has
them, 2 · rows · inputs · outputs FLOP a product; `tokens_per_second` the training rate of products alone at it, the head
over --labelled-share of the tokens, no padding, nothing else computed.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch


def seconds_of(rows: int, outputs: int, inputs: int, backward: bool, budget: float) -> float:
    """The best time of one product."""
    copies = max(1, min(64, (64 << 20) // (outputs * inputs * 4)))
    weights = [torch.randn(outputs, inputs) for _ in range(copies)]
    x = torch.randn(rows, outputs if backward else inputs)
    out = x @ (weights[0] if backward else weights[0].T)
    best, start = float("inf"), time.perf_counter()
    while time.perf_counter() - start < budget:
        begin = time.perf_counter()
        for weight in weights:
            torch.matmul(x, weight if backward else weight.T, out=out)
        best = min(best, (time.perf_counter() - begin) / copies)
    return best


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="Hugging Face folder: its config.json")
    parser.add_argument("--rows", type=int, default=512, help="tokens of a product (default 512)")
    parser.add_argument("--labelled-share", type=float, default=0.537, help="of tokens that reach the head (default 0.537)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each shape and direction (default 1)")
    parser.add_argument("--threads", type=int, default=0, help="0: torch's default")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    c = json.loads((args.model / "config.json").read_text())
    hidden, ffn, vocab, layers = (c[k] for k in ("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers"))
    kv = hidden // c["num_attention_heads"] * c.get("num_key_value_heads", c["num_attention_heads"])
    shapes = [("q, o", hidden, hidden, 2 * layers), ("k, v", kv, hidden, 2 * layers)]
    shapes += [("gate, up", ffn, hidden, 2 * layers), ("down", hidden, ffn, layers), ("head", vocab, hidden, args.labelled_share)]
    flop, seconds, table = 0.0, 0.0, {}
    for name, outputs, inputs, count in shapes:
        one = 2.0 * args.rows * outputs * inputs
        pair = [seconds_of(args.rows, outputs, inputs, backward, args.seconds) for backward in (False, True)]
        table[name] = [round(one / t / 1e9, 1) for t in pair]
        flop, seconds = flop + 2 * one * count, seconds + sum(pair) * count
    result = {"gflops": round(flop / seconds / 1e9, 1), "tokens_per_second": round(args.rows / seconds, 2)}
    result |= {"forward_and_backward_gflops": table, "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
