"""Comparators as data: told apart by kind, in plain data and in keys; impossible ones rejected; weights by product."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch

from lsr.core.config import as_plain, check, from_plain
from lsr.core.errors import ConfigError, IntegrityError
from lsr.models.baselines.build import build, load, product
from lsr.models.baselines.config import (
    BaselineConfig,
    EdsrConfig,
    EsrganConfig,
    IdmConfig,
    LiifConfig,
    PixelUNetConfig,
    Sr3Config,
)
from lsr.models.baselines.rrdb import Adversaries, Discriminator, Generator
from lsr.models.weights import weights_to_bytes
from tests.models.baselines.kit import TINY


@dataclass(frozen=True, kw_only=True, slots=True)
class Holder:
    model: BaselineConfig


PUBLISHED: list[BaselineConfig] = [EdsrConfig(), LiifConfig(), Sr3Config(), IdmConfig(), EsrganConfig()]


@pytest.mark.parametrize("config", [*PUBLISHED, *TINY.values()])
def test_a_union_of_comparators_reads_back_the_one_that_was_written(config: BaselineConfig) -> None:
    check(config)
    assert from_plain(Holder, as_plain(Holder(model=config))) == Holder(model=config)


def test_two_comparators_at_their_defaults_are_two_keys() -> None:
    keys = [str(as_plain(Holder(model=config))) for config in PUBLISHED]
    assert len(set(keys)) == len(keys)


def test_a_fault_is_told_in_the_words_of_the_comparator_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"^model\.hidden must be a valid integer, found 'wide'\.$"):
        from_plain(Holder, {"model": {"kind": "idm", "hidden": "wide"}})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (EdsrConfig(factor=5), "factor must be 2, 3, 4, 8 or 16, found 5"),
        (EdsrConfig(blocks=0), "blocks must be greater than or equal to 1"),
        (EsrganConfig(factor=3), "factor must be 2, 4, 8 or 16, found 3"),
        (LiifConfig(channels=0), "channels must be greater than or equal to 1"),
        (IdmConfig(published_cell=True), "cell_decoding must be true as well"),
        (IdmConfig(largest=1.0), "largest must be greater than 1"),
        (Sr3Config(unet=PixelUNetConfig(attention_factors=(32,))), r"\[32\] are never reached"),
        (Sr3Config(unet=PixelUNetConfig(dropout=1.0)), "dropout"),
        (Sr3Config(unet=PixelUNetConfig(channels=12)), "multiple of 8"),
    ],
)
def test_impossible_comparators_are_rejected_before_they_are_built(config: BaselineConfig, named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        build(config)


@pytest.mark.parametrize("kind", TINY)
def test_the_seed_decides_the_untrained_weights_and_saved_ones_come_back(kind: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(4)
        states.append(build(TINY[kind]).state_dict())
    before = torch.get_rng_state()
    again = load(TINY[kind], weights_to_bytes(states[0]))
    assert torch.equal(torch.get_rng_state(), before), "loading draws nothing from the caller's generator"
    assert not again.training
    for name, value in again.state_dict().items():
        assert torch.equal(value, states[0][name])
        assert torch.equal(value, states[1][name])


def test_the_product_of_esrgan_is_its_generator() -> None:
    config = TINY["esrgan"]
    assert isinstance(config, EsrganConfig)
    both = Adversaries(Generator(config), Discriminator(config))
    made = product(config, both.state_dict())
    assert made.keys() == both.generator.state_dict().keys()
    found = load(config, weights_to_bytes(both.state_dict()))
    assert torch.equal(found.state_dict()["conv_in.weight"], both.generator.conv_in.weight)


def test_weights_of_another_size_are_rejected() -> None:
    config = TINY["edsr"]
    assert isinstance(config, EdsrConfig)
    weights = weights_to_bytes(build(config).state_dict())
    with pytest.raises(IntegrityError, match="EDSR of run 3 does not fit the Edsr of its config: it lacks"):
        load(replace(config, blocks=2), weights, "EDSR of run 3")
    with pytest.raises(IntegrityError, match="not a safetensors file"):
        load(config, b"<html>", "EDSR")
