"""What the training stages build from a request: sources of batches, weights of earlier stages, the architecture."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load

from data_prep.config import LatentsConfig
from lsr.core.config import from_plain
from lsr.core.errors import ConfigError, IntegrityError
from lsr.core.randomness import derive_seed
from lsr.data.batches import LatentSource, TileSource
from lsr.data.cache import shards_in
from lsr.data.config import DegradationConfig
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.data.whitening import Whitening
from lsr.engine.request import Request
from lsr.engine.table import START
from lsr.models.config import SystemConfig
from lsr.models.system import LatentSystem
from lsr.models.weights import misfits
from lsr.stages.trained import Trained, read_trained, weights_of
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.store.roots import read_root
from lsr.training.config import TrainConfig
from lsr.training.objectives.condition import ConditionInLoop
from lsr.training.protocols import Objective, Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What one worker needs: the objective, its batches, and the architecture to record."""

    objective: Objective
    source: Source
    system: dict[str, Any]


class Setup:
    """Builds the parts of a `Training` for one request. cache: the folder of what can be fetched again."""

    def __init__(self, request: Request, store: Store, cache: Path) -> None:
        self.request, self.store, self.cache = request, store, cache

    def manifest(self, name: str) -> Manifest:
        """The data set that the stage takes as `name`."""
        return load_manifest(self.store, self.request.inputs[name].path)

    def trained(self, name: str) -> Trained:
        """The trained result that the stage takes as `name`."""
        return read_trained(self.store, self.request.inputs[name])

    def weights(self, trained: Trained) -> dict[str, torch.Tensor]:
        """Its averaged weights, by name."""
        return weights_of(self.store, trained)

    def start(self, module: torch.nn.Module, prefix: str) -> bool:
        """Give `module` the weights under `prefix` of the model that the recipe starts from; False if it has none.

        Raises ConfigError naming weights that are not as in that model.
        """
        if not self._start:
            return False
        found = {name.removeprefix(prefix): value for name, value in self._start.items() if name.startswith(prefix)}
        if faults := misfits(module, found):
            raise ConfigError(
                f"Stage {self.request.stage} cannot start from {prefix}* of the recipe's model, which {faults}: "
                "take the networks of that model's recipe."
            )
        module.load_state_dict(found)
        return True

    @cached_property
    def _start(self) -> dict[str, torch.Tensor]:
        """Weights of the model that the recipe starts from, empty if it has none."""
        if START not in self.request.inputs:
            return {}
        record = read_root(self.store, self.request.inputs[START].path, "system")
        weights: dict[str, torch.Tensor] = load(get_blob(self.store, record.blobs["weights"].path))
        return weights

    def seed_weights(self) -> None:
        """Initial weights are a function of the recipe's seed and the stage."""
        torch.manual_seed(derive_seed(self.request.seed, self.request.stage, "init"))

    def tiles(self, config: TrainConfig) -> TileSource:
        """Batches of tiles."""
        manifest = self.manifest("tile")
        return TileSource(self._reader(manifest), self._order(manifest, config), config.batch)

    def latents(self, config: TrainConfig, architecture: SystemConfig, *, pixels: bool) -> LatentSource:
        """Batches of cached latents, with the pixels of their tiles where they are needed too."""
        manifest, degradation = self.manifest("latents"), self.degradation()
        sampled = degradation is not None and degradation.sampled
        cached = manifest.extra["degradations"]
        return LatentSource(
            self._reader(manifest),
            self._reader(self.manifest("tile")) if pixels or sampled else None,
            self._order(manifest, config),
            config.batch,
            encoder=self.request.inputs["decoder"].digest,
            whitening=manifest.extra["whitening"],
            degradation=cached[0] if architecture.conditional and not sampled else None,
        )

    def system(self, architecture: SystemConfig) -> LatentSystem:
        """A system with the first stage's weights and the latents' whitening; the U-Net is as it is initialised.

        Raises IntegrityError when the decoder's weights do not fit.
        """
        self.seed_weights()
        system = LatentSystem(architecture)
        tensors = self.weights(self.trained("decoder"))
        whitening = Whitening.from_plain(self.manifest("latents").extra["whitening_values"])
        tensors["latent_mean"] = torch.tensor(whitening.mean).reshape(-1, 1, 1)
        tensors["latent_std"] = torch.tensor(whitening.std).reshape(-1, 1, 1)
        missing, unexpected = system.load_state_dict(tensors, strict=False)
        wrong = [*unexpected, *(name for name in missing if not name.startswith("unet."))]
        if wrong:
            raise IntegrityError(f"The decoder's weights do not fit this system, e.g. {wrong[0]}; train it again.")
        return system

    def degradation(self) -> DegradationConfig | None:
        """How LR images are made; None for generation."""
        degradations = from_plain(LatentsConfig, self.manifest("latents").made_by["config"]).degradations
        return degradations[0] if degradations else None

    def conditioned(self, objective: Objective, system: LatentSystem) -> Objective:
        """The objective, which makes its own condition where that cannot be cached."""
        degradation = self.degradation()
        if degradation is None or not degradation.sampled:
            return objective
        return ConditionInLoop(objective, degradation, system)

    def _reader(self, manifest: Manifest) -> SampleReader:
        return SampleReader(self.store, manifest, shards_in(self.cache))

    def _order(self, manifest: Manifest, config: TrainConfig) -> SampleOrder:
        counts = [row.samples for row in manifest.shards]
        return SampleOrder(counts, manifest.digest, derive_seed(self.request.seed, self.request.stage), config.window)
