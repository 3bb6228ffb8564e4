"""A reference: the small record that travels between stages, through Prefect, Ray and the command line."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Ref:
    """Names one result. kind: what it is (`images`, `tiles`, `autoencoder`, ...). key: the action key that asked
    for it. digest: sha256 of its root manifest's bytes. path: the manifest's key in the store.
    """

    kind: str
    key: str
    digest: str
    path: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)
