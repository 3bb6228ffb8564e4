"""What a stage is asked to do, in plain data: it travels to Ray jobs and workers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from lsr.core.refs import Ref
from lsr.store.records import parse_record, seal


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One action. inputs: results by name. config, run: plain data of the stage's part of the recipe, and of the run,
    which no key knows. name: of the data set it works on. seed: of the recipe.
    """

    stage: str
    key: str
    inputs: dict[str, Ref]
    config: dict[str, Any]
    name: str
    task: str
    seed: int
    run: dict[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: dict[str, Any]) -> Request:
        """The request in `plain`."""
        return cls(**{**plain, "inputs": {name: Ref(**ref) for name, ref in plain["inputs"].items()}})

    def to_bytes(self) -> bytes:
        """A record with its own digest."""
        return seal(self.as_dict())

    @classmethod
    def from_bytes(cls, data: bytes, where: str = "This request") -> Request:
        """The request in `data`; `where` names it in errors. Raises IntegrityError unless `to_bytes` wrote it."""
        plain = parse_record(data, where)
        del plain["format"]
        return cls.from_dict(plain)
