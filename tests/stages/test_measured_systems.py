"""*evaluate* and *measure* ask a system by the recipe's sampler and precision, on the run's device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.diffusion import samplers
from lsr.diffusion.config import SamplerConfig
from lsr.engine.context import Context
from lsr.engine.table import EVALUATE, MEASURE, MeasureConfig, Stage
from lsr.evaluation.config import EvaluateConfig
from lsr.inference import executor as executor_module
from lsr.inference.baselines import Comparator
from lsr.inference.config import ExecutorConfig
from lsr.models.baselines.build import build
from lsr.models.system import LatentSystem
from lsr.recipes.run import Run
from lsr.stages import evaluate, measure
from lsr.store import open_store
from lsr.store.attempts import claim, owner_record
from tests.inference.kit import make_image
from tests.models.baselines.kit import TINY
from tests.stages.kit import Here
from tests.training.kit import tiny_system

# No field has its default, so that one that is forgotten shows.
ODD = SamplerConfig(name="ddim", steps=3, eta=0.7, seed=99)
CONFIG = EvaluateConfig(
    sampler=ODD, precision="bf16", scales=(2.0,), lr_side=16, crops=1, photos=1, samples=2, sizes=(32, 48)
)


class Zero(nn.Module):
    """A metric."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return (a - b).mean((1, 2, 3)) * 0


def photos(*_: object) -> Iterator[tuple[str, Any]]:
    yield "p", make_image(64, 64)


@pytest.fixture
def ctx(tmp_path: Path) -> Context:
    torch.set_num_threads(1)
    settings = Settings(home=tmp_path, store=f"file://{tmp_path}/store", mlflow=f"sqlite:///{tmp_path}/mlflow.db")
    run = Run(name="test", executor=ExecutorConfig(device="cuda", batch=2, channels_last=True))
    return Here(settings=settings, store=open_store(settings.store), run=run, pipeline="test")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What reached the samplers, the choice of a device, autocast and the metrics. The GPU is a CPU."""
    found: dict[str, list[Any]] = {"sampler": [], "device": [], "precision": [], "metric": []}

    def sample(config: SamplerConfig, *rest: Any) -> Tensor:
        found["sampler"].append(config)
        found["precision"].append(torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else None)
        return samplers.sample(config, *rest)

    def device_of(config: ExecutorConfig) -> torch.device:
        found["device"].append(config)
        return torch.device("cpu")

    def placed(network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
        found["metric"].append(type(network))
        return network

    for name in ("upscale", "generate", "baselines"):
        monkeypatch.setattr(f"lsr.inference.{name}.sample", sample)
    monkeypatch.setattr(executor_module, "device_of", device_of)
    monkeypatch.setattr(executor_module, "placed", placed)
    monkeypatch.setattr("lsr.metrics.lpips.find_lpips", lambda _: Zero())
    for stage in (evaluate, measure):
        monkeypatch.setattr(stage, "held_out", photos)
    return found


def run(stage: Stage[Any], config: Any, ctx: Context, task: str = "super-resolution") -> None:
    nothing = {name: Ref(kind="k", key="0" * 64, digest="0" * 64, path="none") for name in stage.inputs}
    request = stage.request(config, nothing, ctx.run, name="n", task=task, seed=0)
    assert request.config == as_plain(config)
    lease = claim(ctx.store, request.key, stage.name, owner=owner_record(), ttl=60.0)
    stage.make(request, ctx, lease)


def held(seen: dict[str, list[Any]], ctx: Context) -> None:
    assert set(seen["sampler"]) == {ODD}
    assert set(seen["precision"]) == {torch.bfloat16}
    assert seen["device"] == [ctx.run.executor]


@pytest.mark.parametrize("kind", ["sr3", "idm"])
def test_comparators_are_asked_by_the_studys_sampler(
    monkeypatch: pytest.MonkeyPatch, ctx: Context, seen: dict[str, list[Any]], kind: str
) -> None:
    comparator = Comparator(build(TINY[kind]), TINY[kind])
    monkeypatch.setattr(measure, "system_of", lambda *_: comparator)
    run(MEASURE, MeasureConfig(label=kind, evaluate=CONFIG), ctx)
    held(seen, ctx)
    assert seen["metric"] == [Zero]


@pytest.mark.parametrize("protocol", ["per-image", "seed-a"])
def test_latent_systems_of_a_study_are_asked_by_it_too(
    monkeypatch: pytest.MonkeyPatch, ctx: Context, seen: dict[str, list[Any]], protocol: str
) -> None:
    system = tiny_system()
    monkeypatch.setattr(measure, "system_of", lambda *_: system)
    config = replace(CONFIG, protocol=protocol)  # type: ignore[arg-type]
    run(MEASURE, MeasureConfig(label="ours", evaluate=config), ctx)
    held(seen, ctx)


@pytest.mark.parametrize("task", ["super-resolution", "generation"])
def test_a_recipes_system_is_evaluated_by_its_sampler_and_precision_on_the_runs_device(
    monkeypatch: pytest.MonkeyPatch, ctx: Context, seen: dict[str, list[Any]], task: str
) -> None:
    system: LatentSystem = tiny_system(conditional=task == "super-resolution")
    monkeypatch.setattr("lsr.stages.assemble.assemble", lambda *_: system)
    monkeypatch.setattr(evaluate, "real_tiles", lambda *_: [make_image(64, 64, seed) for seed in range(16)])
    run(EVALUATE, CONFIG, ctx, task)
    held(seen, ctx)
    assert Zero in seen["metric"]
