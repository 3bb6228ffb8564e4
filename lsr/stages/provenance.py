"""What an attempt that trains says of itself, kept beside the attempt's own record, and read back for a version.

Rates and machines differ between runs that give the same weights, so none of this is in the trained result.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.core.software import commit, packages_digest, versions
from lsr.engine.request import Request
from lsr.recipes.schema import Recipe
from lsr.registry.lineage import Lineage, Registration, Training, TrainingAttempt
from lsr.stages.trained import read_trained
from lsr.store import Store
from lsr.store.records import parse_record, seal

if TYPE_CHECKING:
    from lsr.training.checkpoints import Resume

TRAINED = ("autoencoder", "decoder", "denoise", "joint")
"""The stages whose weights a version holds or descends from."""

_NAME = re.compile(r"/attempt-\d+-training\.json$")


class Log:
    """One attempt's record: written when training begins, so that a killed attempt leaves it, and again at the end.

    attempt: its number, which no other process has, so that nobody else writes this record.
    """

    def __init__(
        self,
        store: Store,
        request: Request,
        *,
        attempt: int,
        submission: str,
        environment: Mapping[str, str],
        ids: Mapping[str, str],
    ) -> None:
        self._store, self._began = store, time.monotonic()
        self._record = TrainingAttempt(
            key=request.key,
            attempt=attempt,
            submission=submission,
            started_at=time.time(),
            commit=commit(),
            packages=packages_digest(),
            versions=versions(),
            environment=dict(environment),
            run=request.run["train"],
            ids=dict(ids),
        )
        self._write()

    def finish(self, *, steps: int, images_seen: int, resumed_from: Sequence[Resume]) -> None:
        """Add what was measured from the making of this object until now: the run is at its last step, `steps`, where
        it has seen `images_seen` images over all attempts.
        """
        seconds = time.monotonic() - self._began
        begun = resumed_from[-1].step if resumed_from else 0
        seen = images_seen * (steps - begun) / max(steps, 1)
        self._record = replace(
            self._record,
            from_step=begun,
            steps=steps,
            seconds=seconds,
            images_per_second=seen / max(seconds, 1e-9),
            resumed_from=[asdict(one) for one in resumed_from],
        )
        self._write()

    def _write(self) -> None:
        key = f"runs/{self._record.key}/attempt-{self._record.attempt}-training.json"
        self._store.write(key, seal(asdict(self._record)))


def attempts_of(store: Store, key: str) -> list[TrainingAttempt]:
    """Every attempt at action `key` that trained, and those of the runs that it went on from, by start."""
    found: dict[tuple[str, int], TrainingAttempt] = {}
    wanted = [key]
    while wanted:
        folder = f"runs/{wanted.pop()}/"
        for info in store.list(f"{folder}attempt-"):
            if not _NAME.search(info.key):
                continue
            plain = parse_record(store.read(info.key), f"{store.uri}/{info.key}")
            one = TrainingAttempt(**{name: plain[name] for name in TrainingAttempt.__dataclass_fields__})
            if (one.key, one.attempt) not in found:
                found[one.key, one.attempt] = one
                wanted += [earlier["run"] for earlier in one.resumed_from if earlier["run"]]
    return sorted(found.values(), key=lambda one: one.started_at)


def lineage_of(
    store: Store, recipe: Recipe, refs: Mapping[str, Ref], *, ids: Mapping[str, str], weights: bytes
) -> Lineage:
    """Where a version of these results comes from. ids: of the runs that register it. weights: its file."""
    return Lineage(
        config=sha256_hex(canonical_json(as_plain(recipe))),
        seed=recipe.seed,
        inputs={stage: ref.digest for stage, ref in refs.items()},
        trainings={stage: _training(store, refs[stage]) for stage in TRAINED},
        registration=Registration(commit=commit(), packages=packages_digest(), ids=dict(ids)),
        weights={"weights.safetensors": sha256_hex(weights)},
    )


def _training(store: Store, ref: Ref) -> Training:
    trained = read_trained(store, ref)
    batch: Any = trained.config["train"]["batch"]
    return Training(
        result=ref.digest,
        steps=trained.steps,
        images_seen=trained.images_seen,
        batch=int(batch),
        attempts=attempts_of(store, ref.key),
    )
