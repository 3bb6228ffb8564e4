"""Runs that differ in their duration alone: a longer training resumes from a shorter one's checkpoint."""

from __future__ import annotations

import logging
from typing import Any

from lsr.core.errors import IntegrityError, NotFoundError, VersionMismatchError
from lsr.engine.request import Request
from lsr.engine.table import stage_named
from lsr.store import Store
from lsr.store.records import parse_record, seal
from lsr.training.config import TrainConfig

ROOT = "trajectories"
_LOG = logging.getLogger(__name__)


def trajectory_of(request: Request) -> str:
    """Digest of everything that a training is asked but its duration."""
    train = {name: value for name, value in request.config["train"].items() if name not in ("images", "cooldown")}
    part = {**request.config, "train": train}
    return stage_named(request.stage).key_of_part(part, request.inputs, seed=request.seed, task=request.task)


def join(store: Store, request: Request, config: TrainConfig) -> dict[str, int]:
    """Put this run beside its siblings; their durations in images by action key."""
    folder = f"{ROOT}/{trajectory_of(request)}"
    store.create(f"{folder}/{request.key}.json", seal({"images": config.images}))
    found = {}
    for info in store.list(f"{folder}/"):
        key = info.key.rpartition("/")[2].removesuffix(".json")
        if key == request.key:
            continue
        try:
            found[key] = int(parse_record(store.read(info.key), f"{store.uri}/{info.key}")["images"])
        except (IntegrityError, NotFoundError, VersionMismatchError) as error:
            # It costs time, not the result.
            _LOG.warning("Run %s is not resumed: %s", key[:12], error)
    return found


def why_from_the_start(config: TrainConfig, siblings: dict[str, int]) -> str:
    """One sentence for a run that cannot resume from its siblings; empty where it can, or has none."""
    if not siblings or config.schedule != "cosine":
        return ""
    return (
        f"It starts from the beginning although a run of {max(siblings.values())} images exists: under schedule cosine "
        "every learning rate depends on the duration. Under constant or wsd a longer run resumes from a shorter one."
    )


def what_was_gone_on_from(result: dict[str, Any], config: TrainConfig) -> str:
    """One sentence for a run that took over another's checkpoint, empty for any other."""
    taken = [one for one in result["resumed_from"] if one["run"]]
    if not taken:
        return ""
    note = f" ({taken[-1]['note']})" if taken[-1]["note"] else ""
    return f"It went on from {taken[-1]['step'] * config.batch} images of run {taken[-1]['run'][:12]}{note}."
