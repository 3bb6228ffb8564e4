"""Small systems, made-up batches and a tracker for the training and inference tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.core.randomness import derive_seed
from lsr.models.autoencoder import Autoencoder
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, SystemConfig, UNetConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.system import LatentSystem
from lsr.nn.random import normal
from lsr.training.config import DecoderLoss, JointLoss
from lsr.training.loop import TrainResult
from lsr.training.objectives.decoder import DecoderObjective
from lsr.training.objectives.joint import JointObjective
from lsr.training.protocols import Batch, Draws
from lsr.training.world import World

ALONE = World(rank=0, size=1, device=torch.device("cpu"))


class RecordingTracker:
    """Keeps what is logged; `seen` is where an earlier process had got to."""

    def __init__(self, seen: int = 0) -> None:
        self.seen = seen
        self.logged: dict[int, dict[str, float]] = {}
        self.images: dict[int, NDArray[np.uint8]] = {}

    def last_step(self) -> int:
        return max([self.seen, *self.logged])

    def metrics(self, step: int, values: dict[str, float]) -> None:
        assert step not in self.logged, "a step is logged once"
        self.logged[step] = values

    def image(self, name: str, step: int, array: NDArray[np.uint8]) -> None:
        self.images[step] = array

    def params(self, values: dict[str, Any]) -> None: ...

    def artifact(self, path: Path) -> None: ...


class VectorSource:
    """Batches of vectors [b, 8] and targets [b, 1], each a function of the sample's position."""

    def batch(self, start: int, stop: int) -> Batch:
        positions = list(range(start, stop))
        x = normal([derive_seed(0, "x", p) for p in positions], (8,))
        return {"position": torch.tensor(positions), "x": x, "y": x[:, :1].sin() + 0.5 * x[:, 1:2]}

    def verify(self) -> None: ...

    def close(self) -> None: ...


class Regression:
    """Least squares with dropout and draws by position: everything that resuming must bring back, at no cost."""

    terms = ("error",)

    def __init__(self, seed: int = 0, dropout: float = 0.3) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(8, 16), nn.SiLU(), nn.Dropout(dropout), nn.Linear(16, 1))
        self.draws: list[Draws] = []

    def to(self, device: torch.device) -> None:
        self.model.to(device)

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        self.draws.append(draws)
        noisy = batch["x"] + 0.1 * draws.noise(batch["position"], batch["x"])
        error = (self.model(noisy) - batch["y"]).square().mean()
        return error, {"error": error}

    def preview(self, batch: Batch) -> NDArray[np.uint8]:
        return np.zeros((2, 2, 3), np.uint8)


def digests(result: TrainResult) -> tuple[str, str, str]:
    """sha256 of weights, EMA and optimiser."""
    return result.digests["weights"], result.ema.sha256, result.digests["optimiser"]


AUTOENCODER = AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, latent_channels=2, mid_attention=False)
RENDERER = RendererConfig(hidden=(8, 8))


def tiny_system(**changes: Any) -> LatentSystem:
    """A super-resolution system of a few thousand weights, none of them zero; latents of 8 x 8 for 16 x 16 tiles."""
    config = SystemConfig(
        **{
            "autoencoder": AUTOENCODER,
            "renderer": RENDERER,
            "unet": UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_factors=(2,), head_channels=8),
            "diffusion": DiffusionConfig(steps=100),
            "base_scale": 4,
            "latent_side": 8,
            **changes,
        }
    )
    torch.manual_seed(3)
    system = LatentSystem(config)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        system.latent_mean.fill_(0.3)
        system.latent_std.fill_(1.7)
    return system


def latent_batch(first: int = 0, count: int = 2, *, std: bool = False) -> dict[str, Tensor]:
    """Made-up latents and tiles."""
    generator = torch.Generator().manual_seed(first)
    batch = {
        "position": torch.arange(first, first + count),
        "tile": torch.randint(0, 256, (count, 3, 16, 16), dtype=torch.uint8, generator=generator),
        "hr_mean": torch.randn((count, 2, 8, 8), generator=generator),
        "lr": torch.randn((count, 2, 8, 8), generator=generator),
    }
    return {**batch, "hr_std": torch.full_like(batch["hr_mean"], 0.2)} if std else batch


class LatentBatches:
    """`latent_batch` of single samples as a source, so that each is a function of its position alone."""

    def batch(self, start: int, stop: int) -> Batch:
        samples = [latent_batch(position, 1) for position in range(start, stop)]
        return {name: torch.cat([sample[name] for sample in samples]) for name in samples[0]}

    def verify(self) -> None: ...

    def close(self) -> None: ...


def gaussian() -> AutoencoderConfig:
    return replace(AUTOENCODER, bottleneck="kl")


def autoencoder(config: AutoencoderConfig = AUTOENCODER) -> Autoencoder:
    torch.manual_seed(1)
    return Autoencoder(config)


def first_stage(renderer: RendererConfig = RENDERER, **loss: Any) -> DecoderObjective:
    made = autoencoder()
    decoder = NeuralDecoder(AUTOENCODER, renderer)
    decoder.init_from(made)
    return DecoderObjective(made.encoder, decoder, DecoderLoss(**loss))


def joint(**loss: float) -> JointObjective:
    return JointObjective(tiny_system(), JointLoss(**loss))  # type: ignore[arg-type]
