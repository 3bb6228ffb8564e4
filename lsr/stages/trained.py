"""The manifest of a trained result: what was trained, from what, and where its weights are."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.core.refs import Ref
from lsr.models.config import DISCRIMINATOR
from lsr.store import Store
from lsr.store.content import get_blob

FORMAT = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """One trained result. parents: content digest by input name. config: the stage's part of the recipe, whole.
    system: plain data of the architecture. weights: blob path by name (`raw`, `ema`, `optimiser`).
    """

    kind: str
    parents: dict[str, str]
    config: dict[str, Any]
    system: dict[str, Any]
    weights: dict[str, str]
    steps: int
    images_seen: int
    metrics: dict[str, float]

    def to_bytes(self) -> bytes:
        """Canonical JSON with the format version."""
        return canonical_json({"format": FORMAT, **asdict(self)})


def read_json(store: Store, path: str, kind: str) -> dict[str, Any]:
    """The manifest at `path`, checked against the digest in its name, its format and its kind."""
    data = store.read(path)
    digest = path.rsplit("/", 1)[-1].removesuffix(".json")
    if sha256_hex(data) != digest:
        raise IntegrityError(
            f"{store.uri}/{path} does not have the digest in its name; delete it and run the stage again."
        )
    plain: dict[str, Any] = json.loads(data)
    if plain.pop("format", None) != FORMAT:
        raise VersionMismatchError(
            f"{store.uri}/{path} has another format version than {FORMAT}; use the LSR that wrote it."
        )
    if plain.get("kind") != kind:
        raise IntegrityError(f"{store.uri}/{path} is of kind {plain.get('kind')!r}, expected {kind!r}.")
    return plain


def read_trained(store: Store, ref: Ref) -> Trained:
    """The trained result that `ref` names."""
    return Trained(**read_json(store, ref.path, ref.kind))


def weights_of(store: Store, trained: Trained, which: str, prefix: str = "") -> dict[str, Any]:
    """Tensors by name of the weights `which` (`raw` or `ema`), those under `prefix` and without it.

    A discriminator that trained beside the product is in the file, and left out here.
    """
    from safetensors.torch import load

    tensors = load(get_blob(store, trained.weights[which]))
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix) and not name.startswith(f"{DISCRIMINATOR}.")
    }
