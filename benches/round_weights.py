#!/usr/bin/env python3
"""A copy of a Hugging Face folder with its f32 weights rounded to bf16 (to nearest, ties to even).

  round_weights.py MODEL COPY

Needs no torch: numpy alone, one tensor at a time.
"""

import argparse
import json
import shutil
import struct
import sys
from pathlib import Path

import numpy


def to_bf16(values: numpy.ndarray) -> bytes:
    bits = values.view(numpy.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16).tobytes()


def round_file(source: Path, target: Path) -> None:
    with source.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        tensors = sorted(((k, v) for k, v in header.items() if k != "__metadata__"), key=lambda kv: kv[1]["data_offsets"])
        new, offset = {}, 0
        for name, tensor in tensors:
            if tensor["dtype"] != "F32":
                raise SystemExit(f"{source}: {name} is {tensor['dtype']}, expected F32")
            size = (tensor["data_offsets"][1] - tensor["data_offsets"][0]) // 2
            new[name] = {"dtype": "BF16", "shape": tensor["shape"], "data_offsets": [offset, offset + size]}
            offset += size
        text = json.dumps(new).encode()
        text += b" " * (-len(text) % 8)
        with target.open("wb") as out:
            out.write(struct.pack("<Q", len(text)) + text)
            for _, tensor in tensors:
                file.seek(8 + length + tensor["data_offsets"][0])
                size = tensor["data_offsets"][1] - tensor["data_offsets"][0]
                out.write(to_bf16(numpy.frombuffer(file.read(size), dtype="<f4")))


def bf16_copy(model: Path, copy: Path) -> Path:
    copy.mkdir(parents=True)
    for path in sorted(model.iterdir()):
        if path.suffix == ".safetensors":
            round_file(path, copy / path.name)
        elif path.is_file():
            shutil.copy(path, copy)
    return copy


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("copy", type=Path, help="a folder that does not exist yet")
    args = parser.parse_args()
    bf16_copy(args.model, args.copy)
    return 0


if __name__ == "__main__":
    sys.exit(main())
