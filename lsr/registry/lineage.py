"""Where a model version comes from: the trainings whose weights it holds, what they were given, who registered it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from lsr.core.canonical import canonical_json


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingAttempt:
    """One attempt that trained. What it measured of itself is None where it was ended before its last step.

    key: of the action. attempt: its number, 1 and up. submission: its name, that of its Ray job where there is one.
    started_at: seconds since the epoch. commit, packages, versions: see `lsr.core.software`. environment: world size,
    threads, device and torch version of rank 0 (`lsr.training.environment`). run: plain data of how it was to train.
    ids: of the MLflow run, the Prefect flow run and the Ray submission, where there are any. from_step: where it began.
    steps: where it ended. seconds: between the two, saves included. images_per_second: over these seconds.
    resumed_from: the checkpoints that the result descends from, plain data of `lsr.training.checkpoints.Resume`.
    """

    key: str
    attempt: int
    submission: str
    started_at: float
    commit: str | None
    packages: str
    versions: Mapping[str, str]
    environment: Mapping[str, str]
    run: Mapping[str, Any]
    ids: Mapping[str, str]
    from_step: int | None = None
    steps: int | None = None
    seconds: float | None = None
    images_per_second: float | None = None
    resumed_from: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How one stage's weights came about. batch: images per global batch. attempts: all that trained, in the order of
    their start, with those of another run that this one went on from; empty where none is on record.
    """

    result: str
    steps: int
    images_seen: int
    batch: int
    attempts: Sequence[TrainingAttempt]


@dataclass(frozen=True, kw_only=True, slots=True)
class Registration:
    """Who registered the version: code, packages and ids of that process, not of the trainings."""

    commit: str | None
    packages: str
    ids: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lineage:
    """Where a model version comes from. config: sha256 of the recipe's canonical JSON. seed: of the recipe. inputs:
    content digest of every result by stage, the evaluation's among them. trainings: by stage. weights: sha256 by file
    name. The gate's verdict is decided after registration and is the version's tag `lsr.verdict`.
    """

    config: str
    seed: int
    inputs: Mapping[str, str]
    trainings: Mapping[str, Training]
    registration: Registration
    weights: Mapping[str, str] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(asdict(self))
