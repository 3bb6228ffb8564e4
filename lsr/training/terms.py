"""How a made image is compared with the truth: L1, L2, perceptual and patch-adversarial terms (method.md 6, INFD and
LDM).

The loop has one optimiser and minimises one loss. So the discriminator trains inside the objective's model, and the
loss is a sum of two parts that share no gradient: the generator's part sees the discriminator's weights as constants,
the discriminator's part sees the made image as one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsr.core.errors import ConfigError
from lsr.metrics.lpips import Lpips, find_lpips
from lsr.models.config import DISCRIMINATOR
from lsr.models.discriminator import Discriminator
from lsr.training.config import ImageTerms

Perceptual = Callable[[Tensor, Tensor], Tensor]
"""A distance of two [B, 3, H, W] in [0, 1]: [B]. One that is a module moves with the objective."""

ADVERSARIAL = ("generator", "discriminator", "adversarial_weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """total: what to minimise. point: its part without the adversarial game. terms: the scalars to report."""

    total: Tensor
    point: Tensor
    terms: dict[str, Tensor]

    @staticmethod
    def nothing(like: Tensor, terms: Sequence[str]) -> Compared:
        """Zero everywhere, for a step that compares no image."""
        zero = torch.zeros_like(like)
        return Compared(total=zero, point=zero, terms=dict.fromkeys(terms, zero))


def hinge_generator(verdicts: Tensor) -> Tensor:
    """What a generator minimises, a patch: -D(fake) (Lim & Ye 2017)."""
    return -verdicts


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """What a discriminator minimises, a patch: (max(0, 1 - D(real)) + max(0, 1 + D(fake))) / 2."""
    return 0.5 * (F.relu(1 - real) + F.relu(1 + fake))


def adaptive_weight(point: Tensor, generator: Tensor, last: Tensor) -> Tensor:
    """|d point / d last| / (|d generator / d last| + 1e-4), at most 1e4, a constant (VQGAN Eq 7, as released in LDM).

    last: the weights of the layer that makes the image; both losses must depend on it.
    """
    of_point, of_generator = (
        torch.linalg.vector_norm(torch.autograd.grad(loss, last, retain_graph=True)[0]) for loss in (point, generator)
    )
    ratio: Tensor = of_point / (of_generator + 1e-4)
    return ratio.clamp(max=1e4).detach()


def sample_mean(values: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of values [B, ...], each sample's own mean times weight [B] where there is one."""
    if weight is None:
        return values.mean()
    per_sample = values.mean(dim=tuple(range(1, values.ndim))) if values.ndim > 1 else values
    return (weight.to(per_sample.dtype) * per_sample).mean()


def perceptual_for(config: ImageTerms, cache: Path) -> Lpips | None:
    """The perceptual distance that these terms need, from `cache` (Settings.cache); None if they need none.

    Raises ConfigError when its weights were not fetched.
    """
    if config.perceptual == 0:
        return None
    found = find_lpips(cache, config.network)
    if found is None:
        raise ConfigError(
            f"A perceptual weight of {config.perceptual} needs the weights of LPIPS-{config.network}, and {cache} "
            "does not hold them; run `lsr data get lpips` where the stage trains, or set perceptual to 0."
        )
    return found


class ImageLoss:
    """The terms of a config on pairs of images. Raises ConfigError when the perceptual term lacks its distance.

    terms: names of the scalars in `Compared.terms`.
    """

    def __init__(self, config: ImageTerms, perceptual: Perceptual | None = None):
        if config.perceptual > 0 and perceptual is None:
            raise ConfigError(f"A perceptual weight of {config.perceptual} needs a perceptual distance, found none.")
        self.config, self.perceptual = config, perceptual if config.perceptual > 0 else None
        self.discriminator = Discriminator(config.discriminator) if config.adversarial > 0 else None
        self.terms = (*(("perceptual",) if self.perceptual else ()), *(ADVERSARIAL if self.discriminator else ()))

    def join(self, model: nn.Module) -> None:
        """Put the discriminator, if there is one, into the model that trains, under DISCRIMINATOR."""
        if self.discriminator is not None:
            model.add_module(DISCRIMINATOR, self.discriminator)

    def to(self, device: torch.device) -> None:
        """Move what does not train; the discriminator moves with the model it joined."""
        if isinstance(self.perceptual, nn.Module):
            self.perceptual.to(device)

    def __call__(
        self, made: Tensor, truth: Tensor, *, seen: int, last: Tensor, weight: Tensor | None = None
    ) -> Compared:
        """Compare made with truth, both [B, 3, H, W] in [-1, 1], in float32 also under autocast.

        seen: images of the training before this batch. last: for the adaptive weight. weight: [B], multiplies every
        term of that sample.
        """
        with torch.autocast(made.device.type, enabled=False):
            made, truth = made.float(), truth.float()
            point, terms = self._point(made, truth, weight)
            if self.discriminator is None:
                return Compared(total=point, point=point, terms=terms)
            if seen < self.config.start:
                zero = torch.zeros_like(point.detach())
                return Compared(total=point, point=point, terms={**terms, **dict.fromkeys(ADVERSARIAL, zero)})
            return self._game(self.discriminator, made, truth, last, weight, point, terms)

    def _point(self, made: Tensor, truth: Tensor, weight: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
        error, parts, terms = made - truth, [], {}
        if self.config.l1 > 0:
            parts.append(self.config.l1 * sample_mean(error.abs(), weight))
        if self.config.l2 > 0:
            parts.append(self.config.l2 * sample_mean(error.square(), weight))
        if self.perceptual is not None:
            distance = self.perceptual((made + 1) / 2, (truth + 1) / 2)
            terms["perceptual"] = distance.mean()
            parts.append(self.config.perceptual * sample_mean(distance, weight))
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total, terms

    def _game(
        self,
        discriminator: Discriminator,
        made: Tensor,
        truth: Tensor,
        last: Tensor,
        weight: Tensor | None,
        point: Tensor,
        terms: dict[str, Tensor],
    ) -> Compared:
        generator = sample_mean(hinge_generator(discriminator.judge_frozen(made)), weight)
        own = sample_mean(hinge_discriminator(discriminator(truth), discriminator(made.detach())), weight)
        factor = adaptive_weight(point, generator, last) if self.config.adaptive else torch.ones_like(point.detach())
        factor = self.config.adversarial * factor
        values = dict(zip(ADVERSARIAL, (generator, own, factor), strict=True))
        return Compared(total=point + factor * generator + own, point=point, terms={**terms, **values})
