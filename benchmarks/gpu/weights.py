"""Averaged weights of a trained system as bfloat16 parts small enough to move by hand, and back.

They are for viewing images elsewhere. They are not put back into a store: a trained result is named by what was
asked and holds exactly the bits that came out, and rounded weights are others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from data_prep.tars import pack
from lsr.core.canonical import sha256_hex
from lsr.core.errors import InputError, IntegrityError

INDEX = "index.json"
FORMAT = 1
MIB = 1 << 20
# What a safetensors file says of one tensor is well below this.
_ENTRY = 512


def write_weights(folder: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], limit: int) -> list[Path]:
    """`part-<i>.safetensors` of at most `limit` bytes each, and `index.json` with each part's sha256 and `facts`.
    Tensors of floating type become bfloat16, others stay.

    Raises InputError for a single tensor above the limit.
    """
    rounded = {n: (t.to(torch.bfloat16) if t.is_floating_point() else t).contiguous() for n, t in tensors.items()}
    sizes = [tensor.numel() * tensor.element_size() + _ENTRY for tensor in rounded.values()]
    if max(sizes) > limit:
        name = max(rounded, key=lambda name: rounded[name].numel())
        raise InputError(
            f"Tensor {name} takes {max(sizes) / MIB:.1f} MiB, a part {limit / MIB:g}; use a smaller model."
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths, parts = [], []
    for number, run in enumerate(pack(rounded.items(), sizes, limit)):
        data = save(dict(run))
        paths.append(folder / f"part-{number}.safetensors")
        paths[-1].write_bytes(data)
        parts.append({"file": paths[-1].name, "sha256": sha256_hex(data), "bytes": len(data)})
    index = {"format": FORMAT, "type": "bfloat16", "parts": parts, **facts}
    (folder / INDEX).write_text(json.dumps(index, indent=1, sort_keys=True) + "\n")
    return [folder / INDEX, *paths]


def read_weights(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The index and all tensors, bfloat16 as float32. Raises IntegrityError for a part that is missing or damaged."""
    index: dict[str, Any] = json.loads((folder / INDEX).read_text())
    if index.get("format") != FORMAT:
        raise IntegrityError(f"{folder / INDEX} has format {index.get('format')!r}, this code reads {FORMAT}.")
    tensors: dict[str, Tensor] = {}
    for part in index["parts"]:
        path = folder / Path(part["file"]).name
        data = path.read_bytes() if path.is_file() else b""
        if sha256_hex(data) != part["sha256"]:
            raise IntegrityError(f"{path} is missing or does not have the sha256 in {INDEX}; copy it again.")
        tensors |= load(data)
    return index, {n: t.float() if t.dtype == torch.bfloat16 else t for n, t in tensors.items()}
