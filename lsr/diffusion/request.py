"""What a request may ask of sampling. No torch here: recipes and the command line read it."""

from __future__ import annotations

from typing import Literal

Sampler = Literal["ddim", "dpm++", "heun", "euler"]
"""`dpm++` needs fewer steps for the same picture; only `ddim` can draw noise on the way. `heun` calls the network twice
a step, see `network_calls`.
"""


def sampler_faults(sampler: Sampler, eta: float) -> list[str]:
    """What is wrong with asking this sampler for this eta."""
    return [f"sampler {sampler} draws no noise, so eta must be 0, found {eta}."] if sampler != "ddim" and eta else []


def network_calls(sampler: Sampler, steps: int) -> int:
    """How often `steps` steps ask the network."""
    return 2 * steps - 1 if sampler == "heun" else steps
