"""Stage *measure*: one trained system of a study on the frozen held-out photos, beside bicubic."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.core.config import as_plain, from_plain
from lsr.core.errors import IntegrityError
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.engine.table import MeasureConfig
from lsr.evaluation.rows import Evaluation
from lsr.inference.config import ExecutorConfig, Precision
from lsr.models.baselines.config import EsrganConfig
from lsr.stages.evaluate import held_out, metrics_of, upscaler_of
from lsr.stages.trained import read_trained
from lsr.store import Store
from lsr.store.actions import commit
from lsr.store.attempts import Lease
from lsr.store.content import Blob, get_blob, put_blob
from lsr.store.roots import PHOTOS, Record, read_root

if TYPE_CHECKING:
    from lsr.evaluation.protocol import Exhibit
    from lsr.inference.baselines import Comparator
    from lsr.inference.executor import Executor
    from lsr.models.system import LatentSystem

SHOWN = 4
"""Photos whose outputs are kept for people."""

ROLES = frozenset({"lr", "truth", "bicubic", "output"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One system's rows and images. images: blob path of each output, LR and truth, by photo and scale."""

    evaluation: Evaluation
    images: list[dict[str, Any]]


def executor_of(
    store: Store, inputs: dict[str, Ref], precision: Precision, run: ExecutorConfig, pretrained: bytes = b""
) -> Executor:
    """The system that `inputs` name on its device: a latent one, a comparator, or the pretrained comparator in
    `pretrained`.
    """
    from lsr.inference.executor import Executor

    return Executor(system_of(store, inputs, pretrained), run, precision)


def system_of(store: Store, inputs: dict[str, Ref], pretrained: bytes = b"") -> LatentSystem | Comparator:
    """The system that `inputs` name, with its averaged weights, on the CPU."""
    from lsr.inference.baselines import Comparator
    from lsr.models.baselines.build import load
    from lsr.recipes.schema import BaselineStage

    if "joint" in inputs:
        from lsr.stages.assemble import assemble

        return assemble(store, inputs)
    if "baseline" not in inputs:
        return Comparator(load(EsrganConfig(), pretrained, "RealESRGAN"), EsrganConfig())
    trained = read_trained(store, inputs["baseline"])
    config = from_plain(BaselineStage, trained.config).model
    return Comparator(load(config, get_blob(store, trained.weights["ema"].path), "The trained comparator"), config)


def make(request: Request, config: MeasureConfig, ctx: Context, lease: Lease) -> Ref:
    """Measure and record."""
    from lsr.evaluation.protocol import evaluate

    exhibits: list[Exhibit] = []
    photos: set[str] = set()

    def keep(exhibit: Exhibit) -> None:
        # An exhibit can hold its whole photo: those that nobody will see go with it.
        if exhibit.crop == 0 and (exhibit.photo in photos or len(photos) < SHOWN):
            photos.add(exhibit.photo)
            exhibits.append(exhibit)

    executor = executor_of(
        ctx.store, request.inputs, config.evaluate.precision, ctx.run.executor, _pretrained(config, ctx)
    )
    metrics = metrics_of(config.evaluate, ctx.settings.cache, executor.device)
    evaluation = evaluate(
        held_out(ctx.store, request.inputs["shard"], ctx.settings.cache),
        {config.label: upscaler_of(executor, config.evaluate)},
        config.evaluate,
        lpips=metrics.lpips,
        lpips_name=metrics.lpips_name,
        dists=metrics.dists,
        extractors=metrics.extractors,
        show=keep,
        progress=ctx.progress,
    )
    lease.check()
    blobs, places = _kept(ctx.store, exhibits, config.label)
    record = Record(
        kind="measurement",
        parents={name: ref.digest for name, ref in request.inputs.items()},
        blobs={"rows": put_blob(ctx.store, evaluation.to_bytes(), "json"), **blobs},
        made_by={"stage": request.stage, "config": as_plain(config)},
        counts={"rows": len(evaluation.rows)},
        extra={"images": places, PHOTOS: sorted(photos)},
    )
    return commit(ctx.store, request.key, record)


def _pretrained(config: MeasureConfig, ctx: Context) -> bytes:
    if not config.pretrained:
        return b""
    from lsr.core.canonical import sha256_hex

    data = pretrained_path(ctx).read_bytes()
    if sha256_hex(data) != config.pretrained:
        raise IntegrityError(f"{pretrained_path(ctx)} has changed since the study began; fetch it again.")
    return data


def pretrained_path(ctx: Context) -> Path:
    """Where `lsr data get realesrgan` leaves the weights."""
    return ctx.settings.cache / "sets" / "realesrgan" / "realesrgan-x4plus.safetensors"


def _kept(
    store: Store, exhibits: Sequence[Exhibit], label: str
) -> tuple[dict[str, Blob], list[dict[str, str | float]]]:
    """The blobs by name, and for each exhibit which of them it is made of."""
    from lsr.core.encoding import png

    blobs: dict[str, Blob] = {}
    places: list[dict[str, str | float]] = []
    for number, exhibit in enumerate(exhibits):
        pixels = {
            "lr": exhibit.lr,
            "truth": exhibit.truth,
            "bicubic": exhibit.outputs["bicubic"],
            "output": exhibit.outputs[label],
        }
        names = {role: f"{number:04d}-{role}.png" for role in pixels}
        blobs |= {names[role]: put_blob(store, png(image), "png") for role, image in pixels.items()}
        places.append({"photo": exhibit.photo, "scale": exhibit.scale, **names})
    return blobs, places


def read_measured(store: Store, ref: Ref) -> Measured:
    """The rows and images that `make` recorded."""
    record = read_root(store, ref.path, "measurement")
    rows = record.blobs["rows"].path
    evaluation = Evaluation.from_bytes(get_blob(store, rows), f"{store.uri}/{rows}")
    shown = [
        {name: record.blobs[value].path if name in ROLES else value for name, value in place.items()}
        for place in record.extra["images"]
    ]
    return Measured(evaluation=evaluation, images=shown)
