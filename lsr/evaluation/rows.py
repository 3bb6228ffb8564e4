"""The table of measurements: one row for an image and a system, the only thing the gate and the report read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError

FORMAT = 2
CEILING_DB = 100.0
"""PSNR of two equal images; infinity has no place in a mean or in JSON."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """What one system scored on one image.

    photo: the photo (or drawn sample) it comes from, the unit of resampling. crop: region within it. scale:
    output side / LR side (for generation: side / reference side). values: metric by name, None where not computed.
    """

    photo: str
    crop: int
    scale: float
    system: str
    values: Mapping[str, float | None]

    @property
    def place(self) -> tuple[str, int, float]:
        """What two systems must share to be compared."""
        return (self.photo, self.crop, self.scale)


@dataclass(frozen=True, kw_only=True, slots=True)
class Aggregate:
    """One number of a system at a scale that is not a mean over images: a distance between sets, a pooled PSNR.

    system: `real` for real images against other real ones, the floor of a distance. value: None where there were too
    few images. photos: how many it was taken from.
    """

    scale: float
    system: str
    metric: str
    value: float | None
    photos: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """All rows of one evaluation. protocol: its name. facts: what a reader must know to read the numbers (the
    protocol's rules and version, reference scale, LPIPS network). notes: what was skipped, and why. aggregates:
    numbers of a whole system.
    """

    protocol: str
    facts: Mapping[str, Any]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = field(default=())
    aggregates: tuple[Aggregate, ...] = field(default=())

    def to_bytes(self) -> bytes:
        """Canonical JSON; equal evaluations have equal bytes."""
        plain = {**asdict(self), "rows": [asdict(row) for row in self.rows], "format": FORMAT}
        if not self.aggregates:
            del plain["aggregates"]
        return canonical_json(plain)

    @property
    def version(self) -> int:
        """Of the protocol; rows from before versions were recorded have the first."""
        return int(self.facts.get("protocol", {}).get("version", 1))

    @property
    def digest(self) -> str:
        return sha256_hex(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Evaluation:
        """Read `to_bytes` back. where: what to call the bytes in an error (VersionMismatchError, IntegrityError)."""
        try:
            plain = json.loads(data)
            if plain.pop("format", None) != FORMAT:
                raise VersionMismatchError(f"The evaluation at {where} is not of format {FORMAT}; evaluate again.")
            rows = tuple(Row(**row) for row in plain.pop("rows"))
            aggregates = tuple(Aggregate(**aggregate) for aggregate in plain.pop("aggregates", ()))
            return cls(rows=rows, notes=tuple(plain.pop("notes")), aggregates=aggregates, **plain)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IntegrityError(f"The evaluation at {where} cannot be read ({error}); evaluate again.") from error


def photos_of(rows: Iterable[Row]) -> list[str]:
    """Every photo in the rows, sorted."""
    return sorted({row.photo for row in rows})


def systems_of(rows: Iterable[Row]) -> list[str]:
    """Every system in the rows, `bicubic` first, then by name."""
    return sorted({row.system for row in rows}, key=lambda name: (name != "bicubic", name))


def metrics_of(rows: Iterable[Row]) -> list[str]:
    """Every metric that the rows name, in order of first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row.values))
