"""The training stages on a worker's side: build what the stage trains, read its lanes, run the loop.

`work` is what every Ray Train worker calls; with one worker and no Ray it runs in this process just the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from data_prep.config import LatentsConfig
from lsr.core.config import as_plain, from_plain
from lsr.core.errors import IntegrityError
from lsr.core.progress import FileProgress, Quiet
from lsr.core.randomness import derive_seed
from lsr.core.refs import Ref
from lsr.core.stopping import stop_on_sigterm
from lsr.data.batches import LatentSource, TileSource
from lsr.data.cache import shards_in
from lsr.data.config import DegradationConfig
from lsr.data.degrade import degrade, restore_size
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.data.whitening import Whitening
from lsr.engine.table import Request, step_named
from lsr.models.autoencoder import Autoencoder
from lsr.models.baselines.build import build as build_baseline
from lsr.models.baselines.config import EsrganConfig
from lsr.models.config import AutoencoderConfig, SystemConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.system import LatentSystem
from lsr.recipes.schema import AutoencoderStage, BaselineStage, DecoderStage, DenoiseStage, JointStage
from lsr.registry.tracking import MlflowTracker
from lsr.stages.assemble import system_config
from lsr.stages.trained import read_trained, weights_of
from lsr.store import Store, open_store
from lsr.training.baselines import EsrganLoss
from lsr.training.checkpoints import Checkpoints
from lsr.training.config import DenoiseLoss, PictureTerms, TrainConfig
from lsr.training.loop import train
from lsr.training.objectives.autoencoder import AutoencoderObjective
from lsr.training.objectives.baseline import baseline_objective
from lsr.training.objectives.condition import ConditionInLoop
from lsr.training.objectives.decoder import DecoderObjective
from lsr.training.objectives.denoise import DenoiseObjective
from lsr.training.objectives.joint import JointObjective
from lsr.training.own import with_own
from lsr.training.protocols import Objective, Source
from lsr.training.terms import perceptual_for
from lsr.training.world import World


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench:
    """What one worker needs: the objective, its batches, and the architecture to record."""

    objective: Objective
    source: Source
    system: dict[str, Any]


class _Workshop:
    """Builds a Bench for one request. cache: the folder of what can be fetched again."""

    def __init__(self, request: Request, store: Store, cache: Path) -> None:
        self.request, self.store, self.cache = request, store, cache

    def manifest(self, name: str) -> Manifest:
        return load_manifest(self.store, self.request.inputs[name].path)

    def reader(self, manifest: Manifest) -> SampleReader:
        return SampleReader(self.store, manifest, shards_in(self.cache))

    def order(self, manifest: Manifest, config: TrainConfig) -> SampleOrder:
        counts = [row.samples for row in manifest.shards]
        return SampleOrder(counts, manifest.digest, derive_seed(self.request.seed, self.request.stage), config.window)

    def tiles(self, config: TrainConfig) -> TileSource:
        manifest = self.manifest("tile")
        return TileSource(self.reader(manifest), self.order(manifest, config), config.batch, config.lanes)

    def seed_weights(self) -> None:
        """Initial weights are a function of the recipe's seed and the stage."""
        torch.manual_seed(derive_seed(self.request.seed, self.request.stage, "init"))

    def autoencoder(self, config: AutoencoderStage) -> Bench:
        self.seed_weights()
        perceptual = perceptual_for(config.loss.picture, self.cache)
        objective = AutoencoderObjective(Autoencoder(config.model), config.loss, perceptual)
        return Bench(
            objective=objective, source=self.tiles(config.train), system={"autoencoder": as_plain(config.model)}
        )

    def decoder(self, config: DecoderStage) -> Bench:
        trained = read_trained(self.store, self.request.inputs["autoencoder"])
        architecture = from_plain(AutoencoderConfig, trained.system["autoencoder"])
        autoencoder = Autoencoder(architecture)
        autoencoder.load_state_dict(weights_of(self.store, trained, "ema"))
        self.seed_weights()
        decoder = NeuralDecoder(architecture, config.renderer)
        decoder.init_from(autoencoder)
        system: dict[str, Any] = {
            "autoencoder": trained.system["autoencoder"],
            "renderer": as_plain(config.renderer),
        }
        if config.residual is not None:
            system["residual"] = True
        lr_of = None if config.residual is None else partial(degrade, config.residual)
        restore = None if config.residual is None else partial(restore_size, config.residual)
        perceptual = perceptual_for(config.loss.picture, self.cache)
        objective: Objective = DecoderObjective(autoencoder.encoder, decoder, config.loss, lr_of, perceptual, restore)
        if config.residual is not None and config.residual.sampled:
            objective = ConditionInLoop(objective, config.residual)
        return Bench(objective=objective, source=self.tiles(config.train), system=system)

    def denoise(self, config: DenoiseStage) -> Bench:
        unet = {"unet": as_plain(config.unet), "diffusion": as_plain(config.diffusion)}
        first_stage = read_trained(self.store, self.request.inputs["decoder"])
        architecture = system_config(
            first_stage, unet, self.manifest("latents"), self.manifest("tile"), self.request.task
        )
        system = self._system(architecture)
        return Bench(
            objective=self._conditioned(DenoiseObjective(system, config.loss), system),
            source=self._latents(config.train, architecture, pixels=False),
            system=as_plain(architecture),
        )

    def joint(self, config: JointStage) -> Bench:
        denoised = read_trained(self.store, self.request.inputs["denoise"])
        if denoised.parents["latents"] != self.request.inputs["latents"].digest:
            raise IntegrityError("The denoising stage was trained on other latents; run `lsr denoise` again.")
        architecture = from_plain(SystemConfig, denoised.system)
        system = self._system(architecture)
        system.unet.load_state_dict(weights_of(self.store, denoised, "ema"))
        loss = from_plain(DenoiseLoss, denoised.config["loss"])
        degradation = self._degradation()
        lr_of = None if degradation is None else partial(degrade, degradation)
        perceptual = perceptual_for(config.loss.picture, self.cache)
        return Bench(
            objective=self._conditioned(JointObjective(system, config.loss, loss, lr_of, perceptual), system),
            source=self._latents(config.train, architecture, pixels=config.loss.image_weight > 0),
            system=denoised.system,
        )

    def baseline(self, config: BaselineStage) -> Bench:
        self.seed_weights()
        perceptual = None
        if isinstance(config.model, EsrganConfig):
            weight = (config.loss if isinstance(config.loss, EsrganLoss) else EsrganLoss()).perceptual_weight
            perceptual = perceptual_for(PictureTerms(perceptual=weight, network=config.network), self.cache)
        model = build_baseline(config.model)
        objective = baseline_objective(model, config.model, config.degradation, config.loss, perceptual=perceptual)
        return Bench(objective=objective, source=self.tiles(config.train), system={"baseline": as_plain(config.model)})

    def _system(self, architecture: SystemConfig) -> LatentSystem:
        """A system with the first stage's weights and the latents' whitening; the U-Net is as it is initialised."""
        self.seed_weights()
        system = LatentSystem(architecture)
        first_stage = read_trained(self.store, self.request.inputs["decoder"])
        tensors = weights_of(self.store, first_stage, "ema")
        whitening = Whitening.from_plain(self.manifest("latents").extra["whitening_values"])
        tensors["latent_mean"] = torch.tensor(whitening.mean).reshape(-1, 1, 1)
        tensors["latent_std"] = torch.tensor(whitening.std).reshape(-1, 1, 1)
        missing, unexpected = system.load_state_dict(tensors, strict=False)
        wrong = [*unexpected, *(name for name in missing if not name.startswith("unet."))]
        if wrong:
            raise IntegrityError(f"The decoder's weights do not fit this system, e.g. {wrong[0]}; train it again.")
        return system

    def _degradation(self) -> DegradationConfig | None:
        """How LR pictures are made; None for generation."""
        degradations = from_plain(LatentsConfig, self.manifest("latents").made_by["config"]).degradations
        return degradations[0] if degradations else None

    def _conditioned(self, objective: Objective, system: LatentSystem) -> Objective:
        """The objective, which makes its own condition where that cannot be cached."""
        degradation = self._degradation()
        if degradation is None or not degradation.sampled:
            return objective
        return ConditionInLoop(objective, degradation, system)

    def _latents(self, config: TrainConfig, architecture: SystemConfig, *, pixels: bool) -> LatentSource:
        manifest, degradation = self.manifest("latents"), self._degradation()
        sampled = degradation is not None and degradation.sampled
        cached = manifest.extra["degradations"]
        return LatentSource(
            self.reader(manifest),
            self.reader(self.manifest("tile")) if pixels or sampled else None,
            self.order(manifest, config),
            config.batch,
            config.lanes,
            encoder=self.request.inputs["decoder"].digest,
            whitening=manifest.extra["whitening"],
            degradation=cached[0] if architecture.conditional and not sampled else None,
        )


class _NoTracker:
    """Ranks other than 0 report nothing."""

    def last_step(self) -> int:
        return 0

    def metrics(self, step: int, values: dict[str, float]) -> None: ...

    def image(self, name: str, step: int, array: Any) -> None: ...

    def params(self, values: dict[str, Any]) -> None: ...

    def artifact(self, path: Path) -> None: ...


def build(request: Request, store: Store, cache: Path) -> tuple[Bench, TrainConfig]:
    """What this request trains, and how long."""
    config: Any = from_plain(step_named(request.stage).config, request.config)
    bench: Bench = getattr(_Workshop(request, store, cache), request.stage)(config)
    return replace(bench, objective=with_own(bench.objective, config.train.objective)), config.train


def work(config: dict[str, Any], rank: int, world_size: int) -> dict[str, Any] | None:
    """One rank of a training stage. config: plain data from the driver. Rank 0 returns the result's facts.

    SIGTERM to any rank makes all of them save after the step they are in and raise TrainingStoppedError.
    """
    plain = dict(config["request"])
    request = Request(**{**plain, "inputs": {name: Ref(**ref) for name, ref in plain["inputs"].items()}})
    store = open_store(config["store"])
    device = "cuda" if request.compute["gpus_per_worker"] > 0 else "cpu"
    bench, settings = build(request, store, Path(config["cache"]))
    tracker = MlflowTracker(config["tracking"], config["run"]) if rank == 0 and config["run"] else None
    try:
        with stop_on_sigterm() as stop_requested:
            result = train(
                bench.objective,
                bench.source,
                settings,
                seed=request.seed,
                stage=request.stage,
                world=World.here(device),
                checkpoints=Checkpoints(store, request.key, config["fencing"]),
                tracker=tracker or _NoTracker(),
                progress=FileProgress(Path(config["progress"])) if rank == 0 else Quiet(),
                stop_requested=stop_requested,
            )
    finally:
        close = getattr(bench.source, "close", None)
        if close is not None:
            close()
        if tracker is not None:
            tracker.close()
    if result is None:
        return None
    return {
        "system": bench.system,
        "weights": {
            name: asdict(blob)
            for name, blob in (("raw", result.weights), ("ema", result.ema), ("optimiser", result.optimiser))
        },
        "steps": result.steps,
        "images_seen": result.images_seen,
        "metrics": result.metrics,
        "resumed_from": [{"step": one.step, "note": one.note} for one in result.resumed_from],
    }
