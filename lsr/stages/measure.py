"""Stage *measure*: one trained system of a study on the frozen held-out photographs, beside bicubic."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.core.canonical import canonical_json
from lsr.core.config import from_plain
from lsr.core.errors import IntegrityError
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.engine.table import MeasureConfig
from lsr.evaluation.rows import Evaluation
from lsr.inference.config import ExecutorConfig, Precision
from lsr.models.baselines.config import EsrganConfig
from lsr.stages.evaluate import held_out, metrics_of, upscaler_of
from lsr.stages.trained import FORMAT, read_json, read_trained
from lsr.store import Store
from lsr.store.attempts import Lease
from lsr.store.content import commit, get_blob, put_blob

if TYPE_CHECKING:
    from lsr.evaluation.protocol import Exhibit, Image
    from lsr.inference.baselines import Comparator
    from lsr.inference.executor import Executor
    from lsr.models.system import LatentSystem

SHOWN = 4
"""Photographs whose outputs are kept for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One system's rows and pictures. pictures: blob path of each output, LR and truth, by photograph and scale."""

    evaluation: Evaluation
    pictures: list[dict[str, Any]]


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
    return Comparator(load(config, get_blob(store, trained.weights["ema"]), "The trained comparator"), config)


def make(request: Request, config: MeasureConfig, ctx: Context, lease: Lease) -> Ref:
    """Measure and record."""
    from lsr.evaluation.protocol import evaluate

    exhibits: list[Exhibit] = []
    photos: set[str] = set()

    def keep(exhibit: Exhibit) -> None:
        # An exhibit can hold its whole photograph: those that nobody will see go with it.
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
    manifest = {
        "format": FORMAT,
        "kind": "measurement",
        "parents": {name: ref.digest for name, ref in request.inputs.items()},
        "rows": put_blob(ctx.store, evaluation.to_bytes(), "json").path,
        "pictures": [_kept(ctx.store, one, config.label) for one in exhibits],
    }
    return commit(
        ctx.store, kind="measurement", key=request.key, directory="measurements", manifest=canonical_json(manifest)
    )


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


def _kept(store: Store, exhibit: Exhibit, label: str) -> dict[str, Any]:
    def blob(image: Image) -> str:
        from lsr.core.encoding import png

        return put_blob(store, png(image), "png").path

    return {
        "photo": exhibit.photo,
        "scale": exhibit.scale,
        "lr": blob(exhibit.lr),
        "truth": blob(exhibit.truth),
        "bicubic": blob(exhibit.outputs["bicubic"]),
        "output": blob(exhibit.outputs[label]),
    }


def read_measured(store: Store, ref: Ref) -> Measured:
    """The rows and pictures that `make` recorded."""
    record = read_json(store, ref.path, "measurement")
    where = f"{store.uri}/{record['rows']}"
    evaluation = Evaluation.from_bytes(get_blob(store, record["rows"]), where)
    return Measured(evaluation=evaluation, pictures=record["pictures"])
