#!/usr/bin/env python3
"""Write a Llama checkpoint of a well-known shape with random weights, for measurements of speed and memory.

  make_llama.py SHAPE FOLDER [--dtype bf16] [--tokenizer MODEL]

Needs no torch: numpy alone, one tensor at a time, so that a 7B model takes little memory. Weights are drawn from
N(0, 0.02²), norms are 1; the same seed writes the same bytes. --tokenizer copies the tokenizer files of another folder.
"""

import argparse
import json
import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy

# hidden, layers, heads, key and value heads, feed-forward, vocabulary, head tied to the embedding
SHAPES = {
    "nano": (288, 6, 6, 6, 768, 32000, True),
    "smol": (576, 30, 9, 3, 1536, 49152, True),
    "tiny1b": (2048, 22, 32, 4, 5632, 32000, False),
    "open3b": (3200, 26, 32, 32, 8640, 32000, False),
    "llama7b": (4096, 32, 32, 32, 11008, 32000, False),
}
TOKENIZER = ["tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"]
ROWS = 1024


def tensors(shape: tuple) -> Iterator[tuple[str, list[int]]]:
    hidden, layers, heads, kv_heads, ffn, vocab, tied = shape
    kv = hidden // heads * kv_heads
    yield "model.embed_tokens.weight", [vocab, hidden]
    for i in range(layers):
        block = f"model.layers.{i}"
        for name, sizes in [
            ("self_attn.q_proj", [hidden, hidden]),
            ("self_attn.k_proj", [kv, hidden]),
            ("self_attn.v_proj", [kv, hidden]),
            ("self_attn.o_proj", [hidden, hidden]),
            ("mlp.gate_proj", [ffn, hidden]),
            ("mlp.up_proj", [ffn, hidden]),
            ("mlp.down_proj", [hidden, ffn]),
            ("input_layernorm", [hidden]),
            ("post_attention_layernorm", [hidden]),
        ]:
            yield f"{block}.{name}.weight", sizes
    yield "model.norm.weight", [hidden]
    if not tied:
        yield "lm_head.weight", [vocab, hidden]


def encode(values: numpy.ndarray, dtype: str) -> bytes:
    if dtype == "f16":
        return values.astype("<f2").tobytes()
    if dtype == "f32":
        return values.astype("<f4").tobytes()
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def write_weights(path: Path, shape: tuple, dtype: str, seed: int) -> None:
    size = 4 if dtype == "f32" else 2
    header, offset = {}, 0
    for name, sizes in tensors(shape):
        end = offset + int(numpy.prod(sizes)) * size
        header[name] = {"dtype": dtype.upper(), "shape": sizes, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = numpy.random.Generator(numpy.random.SFC64(seed))
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, sizes in tensors(shape):
            if len(sizes) == 1:
                out.write(encode(numpy.ones(sizes, dtype=numpy.float32), dtype))
                continue
            for first in range(0, sizes[0], ROWS):
                rows = min(ROWS, sizes[0] - first)
                values = random.standard_normal((rows, sizes[1]), dtype=numpy.float32)
                values *= numpy.float32(0.02)
                out.write(encode(values, dtype))
        if out.tell() != 8 + len(text) + offset:
            raise SystemExit(f"{path}: {out.tell()} bytes written, {8 + len(text) + offset} expected")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("folder", type=Path, help="does not exist yet")
    parser.add_argument("--dtype", choices=["bf16", "f16", "f32"], default="bf16")
    parser.add_argument("--tokenizer", type=Path, help="folder whose tokenizer files are copied")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    hidden, layers, heads, kv_heads, ffn, vocab, tied = shape = SHAPES[args.shape]
    args.folder.mkdir(parents=True)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": ffn,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocab,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0,
        "max_position_embeddings": 2048,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "torch_dtype": {"bf16": "bfloat16", "f16": "float16", "f32": "float32"}[args.dtype],
    }
    (args.folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    write_weights(args.folder / "model.safetensors", shape, args.dtype, args.seed)
    for name in TOKENIZER if args.tokenizer else []:
        if (args.tokenizer / name).exists():
            shutil.copy(args.tokenizer / name, args.folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
