"""A context without Ray: stages map and train in the test's own process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.config import SourceConfig
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.diffusion.config import SamplerConfig
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.source import begin
from lsr.engine.table import PIPELINE, inputs_of, request_of
from lsr.recipes.demo import short
from lsr.recipes.run import MapRun, Run, TrainRun
from lsr.recipes.schema import InferConfig, Recipe
from lsr.store import open_store
from lsr.training.config import Cadence, JointLoss, TrainConfig


class Here(Context):
    """A context that maps in this process, one item after the other."""

    def ray(self) -> Any:
        """Stages open a session before they know that it has nothing to do."""

    def shared_cache(self) -> str:
        """The worker is this process."""
        return str(self.settings.cache)

    def each(
        self, function: Callable[..., Any], items: Sequence[Any], spread: MapRun, name: str, unit: str, **options: Any
    ) -> Generator[tuple[int, Any]]:
        setup = options.get("setup")
        first = (setup(),) if setup else ()
        return ((place, function(*first, item)) for place, item in enumerate(items))


@dataclass(frozen=True)
class Finished:
    """A finished pipeline: its recipe, its results by stage, and where they are."""

    recipe: Recipe
    refs: dict[str, Ref]
    home: Path


def context_at(home: Path, name: str, every: Cadence) -> Here:
    """A context whose store and registry lie below `home`; training stages run in this process, without a worker."""
    store = f"file://{home}/store"
    settings = Settings(home=home, store=store, mlflow=f"sqlite:///{home}/mlflow.db")
    run = Run(name="test", train=TrainRun(workers=0, every=every))
    return Here(settings=settings, store=open_store(store), run=run, pipeline=name)


def made_by_every_stage(recipe: Recipe, ctx: Context) -> dict[str, Ref]:
    """The pipeline's results up to *evaluate*, each made now, by stage and with what the pipeline begins with."""
    return results(recipe, ctx, all_made=True)


def results(recipe: Recipe, ctx: Context, last: str = "evaluate", *, all_made: bool = False) -> dict[str, Ref]:
    """The pipeline's results up to stage `last`. all_made: none of them was on record."""
    refs = begin(recipe, ctx)
    for name, stage in PIPELINE.items():
        outcome = launch(request_of(stage, recipe, ctx.run, inputs_of(stage, recipe, refs)), ctx)
        assert outcome.made or not all_made
        refs[name] = outcome.ref
        if name == last:
            break
    return refs


def few_images(source: SourceConfig) -> Recipe:
    """`short` with four steps per stage on tiles of 32 pixels of any source, every kind of result included."""
    base = short()

    def cut(train: TrainConfig) -> TrainConfig:
        return replace(train, images=32, batch=8)

    infer = base.infer or InferConfig(source=source)
    return replace(
        base,
        name="small",
        model="small",
        source=source,
        shard=replace(base.shard, holdout=0.4, min_side=16, max_shard_bytes=1 << 15),
        tile=replace(base.tile, size=32, stride=32, shrink=1),
        autoencoder=replace(base.autoencoder, train=cut(base.autoencoder.train)),
        decoder=replace(base.decoder, train=cut(base.decoder.train)),
        denoise=replace(base.denoise, train=cut(base.denoise.train)),
        joint=replace(base.joint, train=cut(base.joint.train), loss=JointLoss(scales=(1.0, 1.0))),
        evaluate=replace(base.evaluate, scales=(2.0, 4.0), photos=64),
        infer=replace(infer, source=source, scale=1.5, sampler=SamplerConfig(steps=1)),
    )
