"""A study run: train every system with every seed, measure each, put all in one table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.request import Request
from lsr.recipes.study import StudyConfig
from lsr.stages.measure import Measured, read_measured
from lsr.study.publish import write
from lsr.study.systems import data_of, measure_request, questions, systems


@dataclass(frozen=True, kw_only=True, slots=True)
class StudyResult:
    """What a study wrote. measured: one entry per seed, by label."""

    folder: Path
    files: list[Path]
    measured: dict[str, list[Measured]]


def run_study(study: StudyConfig, ctx: Context, data: dict[str, Ref] | None = None) -> StudyResult:
    """Train, measure and write the study's page below the output folder. data: `shard` and `tile` that were made
    elsewhere; None makes them here.
    """
    data = data_of(study, ctx) if data is None else data
    measured: dict[str, list[Measured]] = {}
    requests: dict[str, Request] = {}
    for trained in systems(study, data, ctx):
        for label, evaluate in questions(study, trained):
            request = measure_request(study, trained, label, evaluate, data, ctx.run)
            measured.setdefault(label, []).append(read_measured(ctx.store, launch(request, ctx).ref))
            requests.setdefault(label, request)
    folder = ctx.settings.output / study.name
    files = write(folder, study, measured, requests, ctx)
    return StudyResult(folder=folder, files=files, measured=measured)
