"""What a request may ask of sampling. No torch here: recipes and the command line read it."""

from __future__ import annotations

from typing import Literal

Sampler = Literal["ddim", "dpm++"]
"""`dpm++` needs fewer steps for the same picture and draws no noise on the way."""


def sampler_faults(sampler: Sampler, eta: float) -> list[str]:
    """What is wrong with asking this sampler for this eta."""
    return [f"sampler dpm++ draws no noise, so eta must be 0, found {eta}."] if sampler == "dpm++" and eta else []
