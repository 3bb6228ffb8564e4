"""How a system is put on a device: config only, so that recipes and runs can name it without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lsr.core.config import Config, Positive

Precision = Literal["fp32", "bf16", "fp16"]
"""Type of the networks' arithmetic. It changes results, so a recipe states it; what a sampler adds up stays fp32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExecutorConfig(Config):
    """Where and in which portions systems work. It changes a result by rounding alone, so a run states it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the GPU where there is one."""
    batch: Positive = 8
    """At most so many images per call of the network."""
    channels_last: bool = False
    """Memory format of weights and feature maps: channels next to each other."""
