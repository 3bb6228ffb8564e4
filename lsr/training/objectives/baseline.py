"""A comparator's objective from its config: the one entry for all five."""

from __future__ import annotations

from typing import TypeVar, assert_never, cast

from torch import Tensor, nn

from lsr.core.config import check
from lsr.core.errors import ConfigError
from lsr.core.randomness import derive_seed
from lsr.data.degrade import DegradationConfig, degrade
from lsr.models.baselines.config import BaselineConfig, EdsrConfig, EsrganConfig, IdmConfig, LiifConfig, Sr3Config
from lsr.models.baselines.edsr import Edsr
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.liif import Liif
from lsr.models.baselines.rrdb import Adversaries, Discriminator, Generator
from lsr.models.baselines.sr3 import Sr3
from lsr.training.baselines import BaselineLoss, EsrganLoss, PixelDiffusionLoss, RegressionLoss
from lsr.training.objectives.adversarial import EsrganObjective, Perceptual
from lsr.training.objectives.pixel_diffusion import IdmObjective, Sr3Objective
from lsr.training.objectives.regression import EdsrObjective, LiifObjective
from lsr.training.protocols import Draws, Objective

L = TypeVar("L", RegressionLoss, PixelDiffusionLoss, EsrganLoss)


def _loss_of(config: BaselineConfig, kind: type[L], loss: BaselineLoss | None) -> L:
    if loss is not None and not isinstance(loss, kind):
        raise ConfigError(f"The loss of {config.kind} must be a {kind.__name__}, found {type(loss).__name__}.")
    return kind() if loss is None else loss


def _require_factor(config: BaselineConfig, name: str, value: float, factor: int) -> None:
    if value != factor:
        raise ConfigError(
            f"{config.kind}: {name} must be the degradation's factor, found {value:g} and {factor}; change either."
        )


def baseline_objective(
    model: nn.Module,
    config: BaselineConfig,
    degradation: DegradationConfig,
    loss: BaselineLoss | None = None,
    *,
    perceptual: Perceptual | None = None,
) -> Objective:
    """What the loop trains `model` (`lsr.models.baselines.build`) with, on batches of "tile" and "position".

    LR is made in the loop from the tile by `degradation`. loss: the kind that fits the comparator, its defaults where
    None. perceptual: for ESRGAN, whose discriminator is drawn here from torch's generator: seed it first. Raises
    ConfigError for a loss or a factor that does not fit.
    """

    def make_lr(tile: Tensor, position: Tensor, draws: Draws) -> Tensor:
        """A sampled degradation draws by sample position."""
        seeds = [derive_seed(draws.seed, draws.stage, "degradation", p) for p in position.tolist()]
        return degrade(degradation, tile, seeds)

    if loss is not None:
        check(loss)
    match config:
        case EdsrConfig():
            _require_factor(config, "factor", config.factor, degradation.factor)
            return EdsrObjective(cast(Edsr, model), _loss_of(config, RegressionLoss, loss), make_lr)
        case LiifConfig():
            return LiifObjective(cast(Liif, model), _loss_of(config, RegressionLoss, loss), make_lr)
        case Sr3Config():
            return Sr3Objective(cast(Sr3, model), _loss_of(config, PixelDiffusionLoss, loss), make_lr)
        case IdmConfig():
            _require_factor(config, "largest", config.largest, degradation.factor)
            return IdmObjective(cast(Idm, model), _loss_of(config, PixelDiffusionLoss, loss), make_lr)
        case EsrganConfig():
            _require_factor(config, "factor", config.factor, degradation.factor)
            both = Adversaries(cast(Generator, model), Discriminator(config))
            return EsrganObjective(both, _loss_of(config, EsrganLoss, loss), make_lr, perceptual)
    assert_never(config)
