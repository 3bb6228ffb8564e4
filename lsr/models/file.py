"""A whole model as one safetensors file: the weights, and in its header the config, the model card and the lineage.

One file moves between registries, ships with the project and can be read by any safetensors reader. Nothing in it is
code, and reading it runs none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.models.system import LatentSystem, load_system
from lsr.models.weights import weights_to_bytes

FORMAT = 1
KEY = "lsr"
"""Of the header's one text: with several, safetensors would write them in another order each time."""
SUFFIX = ".safetensors"
_LENGTH = 8
"""Bytes of the header's length, little-endian, at the beginning of a safetensors file."""
_FIELDS = ("config", "card", "lineage")


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """What a model file holds. config, weights: as `load_system` takes them. card: markdown. lineage: canonical JSON.
    digest: sha256 of the file.
    """

    config: bytes
    weights: bytes
    card: str
    lineage: bytes
    digest: str = ""

    def load(self, where: str) -> LatentSystem:
        """The system on the CPU, in eval mode. Raises what `load_system` raises."""
        return load_system(self.config, self.weights, where)

    def to_bytes(self, *, half: bool = False) -> bytes:
        """The file. half: weights as float16, half the size.

        Raises IntegrityError when a weight has no finite float16.
        """
        tensors = safetensors.torch.load(self.weights)
        if half:
            tensors = {name: value.to(torch.float16) for name, value in tensors.items()}
            if lost := [name for name, value in tensors.items() if not bool(torch.isfinite(value).all())]:
                raise IntegrityError(f"{lost[0]} has values beyond float16's 65504; export it without --half.")
        header = {
            "format": FORMAT,
            "config": self.config.decode(),
            "card": self.card,
            "lineage": self.lineage.decode(),
        }
        data: bytes = safetensors.torch.save(tensors, metadata={KEY: canonical_json(header).decode()})
        return data

    @staticmethod
    def from_bytes(data: bytes, where: str) -> ModelFile:
        """Read what `to_bytes` wrote; float16 weights become float32. where: the file, for messages.

        Raises IntegrityError for anything that is no model file, VersionMismatchError for another format.
        """
        header = _header(data, where)
        if header.get("format") != FORMAT:
            raise VersionMismatchError(
                f"{where} is no LSR model file of format {FORMAT} (found {header.get('format')!r}); "
                "make one with `lsr models export`."
            )
        if lacking := [name for name in _FIELDS if not isinstance(header.get(name), str)]:
            raise IntegrityError(f"{where} lacks {', '.join(lacking)} in its header; export it again.")
        try:
            tensors = safetensors.torch.load(data)
        except (SafetensorError, ValueError) as error:
            raise IntegrityError(f"{where} is damaged ({error}); fetch or export it again.") from error
        whole = {name: value.float() if value.dtype == torch.float16 else value for name, value in tensors.items()}
        return ModelFile(
            config=header["config"].encode(),
            weights=weights_to_bytes(whole),
            card=header["card"],
            lineage=header["lineage"].encode(),
            digest=sha256_hex(data),
        )


def _header(data: bytes, where: str) -> dict[str, Any]:
    """The header's text, read; empty when the file has none."""
    length = int.from_bytes(data[:_LENGTH], "little")
    if len(data) < _LENGTH or length > len(data) - _LENGTH:
        raise IntegrityError(f"{where} is not a safetensors file or was cut off; fetch it again.")
    try:
        header = json.loads(data[_LENGTH : _LENGTH + length])
        found = json.loads(header["__metadata__"][KEY])
    except (KeyError, TypeError):
        return {}
    except ValueError as error:
        raise IntegrityError(f"{where} is not a safetensors file ({error}); fetch it again.") from error
    return found if isinstance(found, dict) else {}
