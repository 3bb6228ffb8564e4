"""The line as data: every stage, its inputs, the part of the recipe it depends on, its version and its function.

A stage's version is an integer that is raised when its output changes for equal inputs; a golden-bytes test
guards it. The function is named by `module:function` and imported only when a result must really be made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from data_prep.config import LatentsConfig, ShardConfig, TileConfig
from lsr.core.canonical import action_key
from lsr.core.config import described
from lsr.core.errors import ConfigError
from lsr.core.refs import Ref
from lsr.evaluation.config import EvaluateConfig
from lsr.recipes.schema import (
    AutoencoderStage,
    BaselineStage,
    DecoderStage,
    DenoiseStage,
    InferConfig,
    JointStage,
    Recipe,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One stage of the line.

    inputs: names of the steps whose results it takes. config: class of the part of the recipe it depends on, which
    `part` picks. seeded: whether the recipe's seed and task enter its key.
    """

    name: str
    kind: str
    version: int
    inputs: tuple[str, ...]
    config: type
    part: Callable[[Recipe], Any]
    function: str
    seeded: bool = False

    def load(self) -> Callable[..., Any]:
        """The stage's function; imports its module."""
        module, _, name = self.function.partition(":")
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]


def _training(name: str, inputs: tuple[str, ...], config: type, part: Callable[[Recipe], Any]) -> Step:
    return Step(
        name=name,
        kind=name,
        version=1,
        inputs=inputs,
        config=config,
        part=part,
        function="lsr.stages.training:make",
        seeded=True,
    )


STEPS: dict[str, Step] = {
    step.name: step
    for step in (
        Step(
            name="shard",
            kind="images",
            version=2,
            inputs=("snapshot",),
            config=ShardConfig,
            part=lambda r: r.shard,
            function="lsr.stages.shard:make",
        ),
        Step(
            name="tile",
            kind="tiles",
            version=1,
            inputs=("shard",),
            config=TileConfig,
            part=lambda r: r.tile,
            function="lsr.stages.tile:make",
        ),
        _training("autoencoder", ("tile",), AutoencoderStage, lambda r: r.autoencoder),
        _training("decoder", ("tile", "autoencoder"), DecoderStage, lambda r: r.decoder),
        Step(
            name="latents",
            kind="latents",
            version=1,
            inputs=("tile", "decoder"),
            config=LatentsConfig,
            part=lambda r: r.latents,
            function="lsr.stages.latents:make",
        ),
        _training("denoise", ("tile", "latents", "decoder"), DenoiseStage, lambda r: r.denoise),
        _training("joint", ("tile", "latents", "decoder", "denoise"), JointStage, lambda r: r.joint),
        Step(
            name="evaluate",
            kind="evaluation",
            version=3,
            inputs=("shard", "tile", "latents", "decoder", "joint"),
            config=EvaluateConfig,
            part=lambda r: r.evaluate,
            function="lsr.stages.evaluate:make",
            seeded=True,
        ),
    )
}
"""In the order in which they run. *register* and *gate* follow, then *infer*."""


@dataclass(frozen=True, kw_only=True, slots=True)
class InferJob:
    """What `infer` resolved: the recipe's request, and the one model version that answers it.

    model, number: name and number of the version. digest: its content, which the registry must still show.
    """

    job: InferConfig
    model: str
    number: int
    digest: str


INFER = Step(
    name="infer",
    kind="outputs",
    version=1,
    inputs=("images",),
    config=InferJob,
    part=lambda r: r.infer,
    function="lsr.stages.infer:make",
)
"""Batch inference. Its key takes the place of `part` (lsr/stages/infer.py): the alias is not part of what is asked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureConfig:
    """One system of a study under its protocol. label: what its rows are called. pretrained: sha256 of weights that
    were not trained here, empty for those that were.
    """

    label: str
    evaluate: EvaluateConfig
    pretrained: str = ""


BASELINE = Step(
    name="baseline",
    kind="baseline",
    version=1,
    inputs=("tile",),
    config=BaselineStage,
    part=lambda r: r,
    function="lsr.stages.training:make",
    seeded=True,
)
"""Training of a comparator. Its part comes from a study (lsr/study/run.py), not from a recipe."""

MEASURE = Step(
    name="measure",
    kind="measurement",
    version=1,
    inputs=("shard",),
    config=MeasureConfig,
    part=lambda r: r,
    function="lsr.stages.measure:make",
)
"""A study's *evaluate*: one trained system, beside bicubic."""

_BESIDE = {step.name: step for step in (INFER, BASELINE, MEASURE)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What a stage is asked to do, in plain data: it travels to Ray workers and into `runs/<key>/request.json`."""

    stage: str
    key: str
    inputs: dict[str, Ref]
    config: dict[str, Any]
    name: str
    task: str
    seed: int
    compute: dict[str, Any]


def step_named(name: str) -> Step:
    """The step called `name`; ConfigError lists the ones there are."""
    if name in _BESIDE:
        return _BESIDE[name]
    if name not in STEPS:
        raise ConfigError(f"There is no stage {name!r}; the stages are {', '.join(STEPS)}.")
    return STEPS[name]


def key_of(step: Step, recipe: Recipe, inputs: dict[str, Ref]) -> str:
    """The action key of `step` for these inputs (by content digest) and this recipe."""
    config = described(step.part(recipe))
    if step.seeded:
        config = {"part": config, "seed": recipe.seed, "task": recipe.task}
    return action_key(step.name, step.version, {name: ref.digest for name, ref in inputs.items()}, config)
