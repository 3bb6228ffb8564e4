"""The LR condition made in the loop: by sample position, in float32, and the same after a stop."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lsr.core.randomness import derive_seed
from lsr.data.config import DegradationConfig
from lsr.data.degrade import degrade, restore_size
from lsr.models.system import LatentSystem
from lsr.nn.resize import resize
from lsr.training.config import Cadence, DecoderLoss, DenoiseLoss, JointLoss, TrainConfig
from lsr.training.loop import TrainResult
from lsr.training.objectives.condition import ConditionInLoop
from lsr.training.objectives.decoder import DecoderObjective
from lsr.training.objectives.denoise import DenoiseObjective
from lsr.training.objectives.joint import JointObjective
from lsr.training.protocols import Batch, Draws, Objective, TrainingStoppedError
from tests.training.kit import LatentBatches, digests, latent_batch, tiny_system

BLIND = DegradationConfig(factor=4, upsample="bicubic", blur=(0.2, 2.0), noise=(1.0, 12.0), jpeg=(40, 90))
DRAWS = Draws(seed=7, stage="denoise", step=0, first=0)


class Seen:
    """Remembers the batch that it is given."""

    terms = ()

    def __init__(self, system: LatentSystem) -> None:
        self.model = system.unet
        self.batch: Batch = {}

    def to(self, device: torch.device) -> None: ...

    def loss(self, batch: Batch, draws: Draws) -> tuple[Tensor, dict[str, Tensor]]:
        self.batch = batch
        return torch.zeros(()), {}

    def preview(self, batch: Batch) -> None:
        self.batch = batch


def without_condition(first: int = 0, count: int = 2) -> dict[str, Tensor]:
    return {name: value for name, value in latent_batch(first, count).items() if name != "lr"}


def seen(batch: Batch, draws: Draws = DRAWS, *, precision: torch.dtype | None = None) -> Batch:
    system = tiny_system().eval()
    inner = Seen(system)
    with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
        ConditionInLoop(inner, BLIND, system).loss(batch, draws)
    return inner.batch


def test_the_condition_is_the_latent_of_the_degraded_tile_brought_back_to_size() -> None:
    batch, system = without_condition(), tiny_system().eval()
    found = seen(batch)
    x = batch["tile"].double() / 127.5 - 1
    seeds = [derive_seed(7, "denoise", "degradation", p) for p in (0, 1)]
    image = degrade(BLIND, x.float(), seeds)
    expected = system.double().encoder(restore_size(BLIND, image, (16, 16)).double()).mean
    assert torch.equal(found["lr_image"], image)
    assert torch.allclose(found["lr"].double(), expected, atol=1e-5)
    assert not found["lr"].requires_grad


def test_draws_follow_the_sample_and_neither_its_batch_nor_the_precision() -> None:
    whole = seen(without_condition(0, 4))
    alone = seen({name: value[2:] for name, value in without_condition(0, 4).items()})
    assert torch.equal(whole["lr_image"][2:], alone["lr_image"])
    assert torch.allclose(whole["lr"][2:], alone["lr"], atol=1e-5)
    later = seen({**without_condition(0, 4), "position": torch.arange(4, 8)})
    assert (whole["lr_image"] - later["lr_image"]).abs().mean() > 0.01
    half = seen(without_condition(0, 4), precision=torch.bfloat16)
    assert half["lr"].dtype == torch.float32
    assert torch.equal(half["lr"], whole["lr"])


class NoLr(LatentBatches):
    """Batches as the source gives them for a sampled degradation."""

    def batch(self, start: int, stop: int) -> Batch:
        return {name: value for name, value in super().batch(start, stop).items() if name != "lr"}


def denoise() -> Objective:
    system = tiny_system()
    return ConditionInLoop(DenoiseObjective(system, DenoiseLoss()), BLIND, system)


def residual_joint() -> Objective:
    system = tiny_system(residual=True)
    standard = JointObjective(system, JointLoss(scales=(0.5, 1.0)), degrade=lambda x: pytest.fail("not of the batch"))
    return ConditionInLoop(standard, BLIND, system)


def residual_decoder() -> Objective:
    system = tiny_system(residual=True)
    loss = DecoderLoss(scales=(0.5, 1.0))
    standard = DecoderObjective(system.encoder, system.decoder, loss, lambda x: pytest.fail("not of the batch"))
    return ConditionInLoop(standard, BLIND)


@pytest.mark.parametrize("make", [denoise, residual_joint, residual_decoder])
def test_a_stopped_run_goes_on_bit_for_bit(fit: Callable[..., TrainResult], make: Callable[[], Objective]) -> None:
    how = {
        "source": NoLr(),
        "config": TrainConfig(images=24, batch=4),
        "cadence": Cadence(log=6, image=6, checkpoint=100),
    }
    asked = iter(range(100))
    whole = fit(make(), key="whole", **how)
    with pytest.raises(TrainingStoppedError):
        fit(make(), key="cut", **how, stop_requested=lambda: next(asked) == 3)
    assert digests(fit(make(), key="cut", fencing=2, **how)) == digests(whole)


def test_the_residual_is_added_to_the_very_image_that_was_encoded() -> None:
    """With a decoder that renders nothing, the image error is that of the bicubic enlargement of the batch's LR."""
    system = tiny_system(residual=True)
    with torch.no_grad():
        for parameter in system.decoder.renderer.last.parameters():
            parameter.zero_()
    objective = DecoderObjective(system.encoder, system.decoder, DecoderLoss(scales=(1.0, 1.0)), lambda x: x)
    loss, _ = ConditionInLoop(objective, BLIND).loss(without_condition(), DRAWS)
    batch = without_condition()
    lr = seen(batch)["lr_image"]
    x = batch["tile"].float() / 127.5 - 1
    assert torch.allclose(loss, (resize(lr, (16, 16)) - x).abs().mean(), atol=1e-5)
