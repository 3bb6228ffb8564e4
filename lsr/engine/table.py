"""The pipeline as data: every stage, its inputs, the part of the recipe it depends on, its version and its function.

A stage's version is raised when its output changes for equal inputs; what the stage keeps per shard is keyed by the
same number. The function is named by `module:function` and imported only when a result must be made.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from data_prep.config import LATENTS_VERSION, SHARD_VERSION, TILE_VERSION, LatentsConfig, ShardConfig, TileConfig
from lsr.core.canonical import action_key
from lsr.core.config import Config, as_plain, from_plain
from lsr.core.errors import ConfigError
from lsr.core.refs import Ref
from lsr.core.resources import Resources
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.evaluation.config import EvaluateConfig
from lsr.recipes.run import Run
from lsr.recipes.schema import (
    SCHEMA,
    AutoencoderStage,
    BaselineStage,
    DecoderStage,
    DenoiseStage,
    InferConfig,
    JointStage,
    Recipe,
)
from lsr.store.attempts import Lease

C = TypeVar("C", bound=Config)
START = "start"
"""Name of the input that is the model which a recipe starts from."""
Make = Callable[[Request, C, Context, Lease], Ref]
"""What every stage's function is: from a request, its config, the surroundings and the lease to the recorded result.

Raises LsrError; under the lease it may be run again after a kill at any line.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage(Generic[C]):
    """One stage. inputs: names of the stages whose results it takes. config: class of the part of the recipe it depends
    on, which `part` picks. seeded: whether the recipe's seed and task enter its key. resources: of its driver. warm:
    whether it takes the model that the recipe starts from, where there is one.
    """

    name: str
    kind: str
    version: int
    inputs: tuple[str, ...]
    config: type[C]
    part: Callable[[Recipe], C]
    function: str
    resources: Callable[[Run], Resources]
    seeded: bool = False
    warm: bool = False

    def make(self, request: Request, ctx: Context, lease: Lease) -> Ref:
        """Run the stage's function; imports its module."""
        module, _, name = self.function.partition(":")
        # The one place where a name becomes a function: a test holds its annotations against `config`.
        function = cast(Make[C], getattr(importlib.import_module(module), name))
        return function(request, from_plain(self.config, request.config), ctx, lease)

    def key(self, config: C, inputs: Mapping[str, Ref], *, seed: int, task: str) -> str:
        """The action key of this config for these inputs, by content digest."""
        return self.key_of_part(as_plain(config), inputs, seed=seed, task=task)

    def key_of_part(self, part: Mapping[str, Any], inputs: Mapping[str, Ref], *, seed: int, task: str) -> str:
        """`key` for plain data of a config, or of what of it matters for something other than an action."""
        asked: dict[str, Any] = {"part": dict(part), "schema": SCHEMA}
        if self.seeded:
            asked |= {"seed": seed, "task": task}
        return action_key(self.name, self.version, {name: ref.digest for name, ref in inputs.items()}, asked)

    def request(
        self, config: C, inputs: dict[str, Ref], run: Run, *, name: str, task: str, seed: int, key: str | None = None
    ) -> Request:
        """What the stage is asked to do. key: None for its own."""
        return Request(
            stage=self.name,
            key=key or self.key(config, inputs, seed=seed, task=task),
            inputs=inputs,
            config=as_plain(config),
            name=name,
            task=task,
            seed=seed,
            run=as_plain(run),
        )


def _training(name: str, inputs: tuple[str, ...], config: type[C], part: Callable[[Recipe], C]) -> Stage[C]:
    return Stage(
        name=name,
        kind=name,
        version=1,
        inputs=inputs,
        config=config,
        part=part,
        function=f"lsr.stages.{name}:make",
        resources=lambda run: run.train.driver,
        seeded=True,
        # *joint* goes on from *denoise*, which has started from that model already.
        warm=name in ("autoencoder", "decoder", "denoise"),
    )


SHARD = Stage(
    name="shard",
    kind="images",
    version=SHARD_VERSION,
    inputs=("snapshot",),
    config=ShardConfig,
    part=lambda recipe: recipe.shard,
    function="lsr.stages.shard:make",
    resources=lambda run: run.shard.driver,
)
TILE = Stage(
    name="tile",
    kind="tiles",
    version=TILE_VERSION,
    inputs=("shard",),
    config=TileConfig,
    part=lambda recipe: recipe.tile,
    function="lsr.stages.tile:make",
    resources=lambda run: run.tile.driver,
)
LATENTS = Stage(
    name="latents",
    kind="latents",
    version=LATENTS_VERSION,
    inputs=("tile", "decoder"),
    config=LatentsConfig,
    part=lambda recipe: recipe.latents,
    function="lsr.stages.latents:make",
    resources=lambda run: run.latents.driver,
)
EVALUATE = Stage(
    name="evaluate",
    kind="evaluation",
    version=5,
    inputs=("shard", "tile", "latents", "decoder", "joint"),
    config=EvaluateConfig,
    part=lambda recipe: recipe.evaluate,
    function="lsr.stages.evaluate:make",
    resources=lambda run: run.evaluate,
    seeded=True,
)

PIPELINE: dict[str, Stage[Any]] = {
    stage.name: stage
    for stage in (
        SHARD,
        TILE,
        _training("autoencoder", ("tile",), AutoencoderStage, lambda recipe: recipe.autoencoder),
        _training("decoder", ("tile", "autoencoder"), DecoderStage, lambda recipe: recipe.decoder),
        LATENTS,
        _training("denoise", ("tile", "latents", "decoder"), DenoiseStage, lambda recipe: recipe.denoise),
        _training("joint", ("tile", "latents", "decoder", "denoise"), JointStage, lambda recipe: recipe.joint),
        EVALUATE,
    )
}
"""In the order in which they run. *register* and *gate* follow, then *infer*."""


def _no_part(recipe: Recipe) -> Any:
    raise ConfigError(f"Recipe {recipe.name} has no part for this stage.")


@dataclass(frozen=True, kw_only=True, slots=True)
class InferJob(Config):
    """What `infer` resolved: the recipe's request, and the one model version that answers it."""

    job: InferConfig
    """The request."""
    model: str
    """Name of the version's model."""
    number: int
    """Number of the version."""
    digest: str
    """Its content, which the registry must still show."""


INFER = Stage(
    name="infer",
    kind="outputs",
    version=3,
    inputs=("images",),
    config=InferJob,
    part=_no_part,
    function="lsr.stages.infer:make",
    resources=lambda run: run.infer.driver,
)
"""Batch inference. Its key (lsr/stages/infer.py) is made of the model's content; the alias is not part of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureConfig(Config):
    """One system of a study under its protocol."""

    label: str
    """What its rows are called."""
    evaluate: EvaluateConfig
    """The protocol."""
    pretrained: str = ""
    """sha256 of weights that were not trained here, empty for those that were."""


BASELINE = Stage(
    name="baseline",
    kind="baseline",
    version=1,
    inputs=("tile",),
    config=BaselineStage,
    part=_no_part,
    function="lsr.stages.baseline:make",
    resources=lambda run: run.train.driver,
    seeded=True,
)
"""Training of a comparator. Its config comes from a study (lsr/study/systems.py), not from a recipe."""

MEASURE = Stage(
    name="measure",
    kind="measurement",
    version=2,
    inputs=("shard",),
    config=MeasureConfig,
    part=_no_part,
    function="lsr.stages.measure:make",
    resources=lambda run: run.evaluate,
)
"""A study's *evaluate*: one trained system, beside bicubic."""

_STAGES: dict[str, Stage[Any]] = {**PIPELINE, **{stage.name: stage for stage in (INFER, BASELINE, MEASURE)}}


def stage_named(name: str) -> Stage[Any]:
    """The stage called `name`; ConfigError lists the ones there are."""
    if name not in _STAGES:
        raise ConfigError(f"There is no stage {name!r}; the stages are {', '.join(PIPELINE)}.")
    return _STAGES[name]


def inputs_of(stage: Stage[Any], recipe: Recipe, refs: Mapping[str, Ref]) -> dict[str, Ref]:
    """What `stage` takes of the results so far, by name."""
    names = (*stage.inputs, START) if stage.warm and recipe.start else stage.inputs
    return {name: refs[name] for name in names}


def key_of(stage: Stage[Any], recipe: Recipe, inputs: Mapping[str, Ref]) -> str:
    """The action key of `stage` for these inputs and this recipe."""
    return stage.key(stage.part(recipe), inputs, seed=recipe.seed, task=recipe.task)


def request_of(stage: Stage[Any], recipe: Recipe, run: Run, inputs: dict[str, Ref]) -> Request:
    """What `stage` is asked to do by this recipe and run for these inputs."""
    return stage.request(stage.part(recipe), inputs, run, name=recipe.source.name, task=recipe.task, seed=recipe.seed)
