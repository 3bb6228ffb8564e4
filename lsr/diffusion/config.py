"""What a request may ask of sampling. No torch here: recipes and the command line read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from lsr.core.config import Config, Fraction, Positive

SamplerName = Literal["ddim", "dpm++", "heun", "euler"]
Seed = Annotated[int, Ge(0), Le(2**53 - 1)]


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplerConfig(Config):
    """How an image is drawn: from the command line to the network this one object says it."""

    name: SamplerName = "ddim"
    """`dpm++` needs fewer steps for the same image; only `ddim` can draw noise on the way; `heun` calls the network
    twice per step."""
    steps: Positive = 10
    """Sampler steps, at most the training's noise levels."""
    eta: Fraction = 0.0
    """Share of fresh noise per step, of `ddim` (Song et al. 2021, Eq 16): 0 is deterministic, 1 the ancestral
    process."""
    seed: Seed = 0
    """Of the noise; the same seed gives the same image."""
    fidelity: Fraction = 0.0
    """Share of the LR condition's own latent in what is decoded: 0 draws all detail, 1 draws none and calls no
    denoiser."""

    def faults(self) -> list[str]:
        if self.name != "ddim" and self.eta:
            return [f"sampler {self.name} draws no noise, so eta must be 0, found {self.eta}."]
        return []
