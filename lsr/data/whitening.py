"""The affine map that whitens latents, and its digest: latents, loaders and models agree by it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError


@dataclass(frozen=True, kw_only=True, slots=True)
class Whitening:
    """whitened = (latent - mean) / std, a channel at a time. kind: how it was fitted, `std` or `channel`."""

    kind: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def as_plain(self) -> dict[str, Any]:
        """Plain JSON data; `from_plain` reads it back."""
        return {"kind": self.kind, "mean": list(self.mean), "std": list(self.std)}

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> Whitening:
        """Read what `as_plain` wrote. Raises IntegrityError for anything else."""
        try:
            mean, std = (tuple(float(v) for v in data[name]) for name in ("mean", "std"))
            return Whitening(kind=str(data["kind"]), mean=mean, std=std)
        except (KeyError, TypeError, ValueError) as error:
            raise IntegrityError(f"These are not whitening values: {error!r}; encode the latents again.") from error

    @property
    def digest(self) -> str:
        """sha256 over its canonical JSON."""
        return sha256_hex(canonical_json(self.as_plain()))
