"""A comparator from its config, and a trained one from its weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import assert_never

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lsr.core.config import check
from lsr.core.errors import IntegrityError
from lsr.models.baselines.config import (
    BaselineConfig,
    EdsrConfig,
    EsrganConfig,
    IdmConfig,
    LiifConfig,
    Sr3Config,
)
from lsr.models.baselines.edsr import Edsr
from lsr.models.baselines.idm import Idm
from lsr.models.baselines.liif import Liif
from lsr.models.baselines.rrdb import Generator
from lsr.models.baselines.sr3 import Sr3
from lsr.models.weights import load_weights, weights_to_bytes

_GENERATOR = "generator."


def build(config: BaselineConfig) -> nn.Module:
    """The untrained network of `config`, drawn from torch's generator: seed it first. For ESRGAN the generator.

    Raises ConfigError for an impossible config.
    """
    check(config)
    match config:
        case EdsrConfig():
            return Edsr(config)
        case LiifConfig():
            return Liif(config)
        case Sr3Config():
            return Sr3(config)
        case IdmConfig():
            return Idm(config)
        case EsrganConfig():
            return Generator(config)
    assert_never(config)


def product(config: BaselineConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What inference needs of the tensors that training saved: for ESRGAN the generator's alone, else all of them."""
    if not isinstance(config, EsrganConfig) or not any(name.startswith(_GENERATOR) for name in state):
        return dict(state)
    return {name.removeprefix(_GENERATOR): value for name, value in state.items() if name.startswith(_GENERATOR)}


def load(config: BaselineConfig, weights: bytes, where: str = "These weights") -> nn.Module:
    """A comparator on the CPU, in eval mode, from the safetensors that training or `product` saved.

    where: what the bytes are, for messages. Raises IntegrityError for bytes that are no safetensors or do not fit.
    """
    try:
        state = safetensors.torch.load(weights)
    except SafetensorError as error:
        raise IntegrityError(f"{where} is not a safetensors file ({error}); fetch or train it again.") from error
    # Built on the CPU: buffers that are no weights must be real. What was drawn here is replaced.
    with torch.random.fork_rng(devices=[]):
        model = build(config)
    load_weights(model, weights_to_bytes(product(config, state)), where)
    return model.eval()
