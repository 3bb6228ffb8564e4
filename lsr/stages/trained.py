"""A trained result: a typed view of its root record, which says what was trained, from what, and where weights are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lsr.core.errors import IntegrityError
from lsr.core.refs import Ref
from lsr.models.config import DISCRIMINATOR
from lsr.store import Store
from lsr.store.content import Blob, get_blob
from lsr.store.roots import Record, read_root


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """One trained result. parents: content digest by input name. config: the stage's part of the recipe, whole.
    system: plain data of the architecture. weights: blob by name; `ema` are the averaged ones.
    """

    kind: str
    parents: Mapping[str, str]
    config: Mapping[str, Any]
    system: dict[str, Any]
    weights: Mapping[str, Blob]
    steps: int
    images_seen: int
    metrics: dict[str, float]

    def record(self) -> Record:
        """The root record; `Trained.of` reads it back."""
        return Record(
            kind=self.kind,
            parents=self.parents,
            blobs=self.weights,
            made_by={"stage": self.kind, "config": self.config},
            counts={"steps": self.steps, "images_seen": self.images_seen},
            extra={"system": self.system, "metrics": self.metrics},
        )

    @staticmethod
    def of(record: Record, where: str) -> Trained:
        """The trained result of a root record; IntegrityError, naming `where`, for the record of something else."""
        try:
            return Trained(
                kind=record.kind,
                parents=record.parents,
                config=record.made_by["config"],
                system=record.extra["system"],
                weights=record.blobs,
                steps=record.counts["steps"],
                images_seen=record.counts["images_seen"],
                metrics=record.extra["metrics"],
            )
        except KeyError as error:
            raise IntegrityError(f"{where} is of kind {record.kind!r} and says no {error}; train it again.") from error


def read_trained(store: Store, ref: Ref) -> Trained:
    """The trained result that `ref` names. Raises what `read_root` and `Trained.of` raise."""
    return Trained.of(read_root(store, ref.path, ref.kind), f"{store.uri}/{ref.path}")


def weights_of(store: Store, trained: Trained, prefix: str = "") -> dict[str, Any]:
    """The averaged weights under `prefix`, by name without it.

    A discriminator that trained beside the product is in the file, and left out here.
    """
    from safetensors.torch import load

    tensors = load(get_blob(store, trained.weights["ema"].path))
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix) and not name.startswith(f"{DISCRIMINATOR}.")
    }
