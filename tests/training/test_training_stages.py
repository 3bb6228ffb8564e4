"""Every stage's objective through the loop: cut and resumed to the same bits, and its image for people."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch

from lsr.data.config import DegradationConfig
from lsr.data.degrade import degrade, restore_size
from lsr.models.config import BodyConfig, DiscriminatorConfig, RendererConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.system import LatentSystem
from lsr.training.config import AutoencoderLoss, Cadence, DecoderLoss, DenoiseLoss, ImageTerms, JointLoss, TrainConfig
from lsr.training.loop import TrainResult
from lsr.training.objectives.autoencoder import AutoencoderObjective
from lsr.training.objectives.decoder import DecoderObjective
from lsr.training.objectives.denoise import DenoiseObjective
from lsr.training.objectives.joint import JointObjective
from lsr.training.protocols import Objective
from tests.training.kit import (
    AUTOENCODER,
    LatentBatches,
    RecordingTracker,
    autoencoder,
    digests,
    first_stage,
    gaussian,
    joint,
    latent_batch,
    tiny_system,
)

Fit = Callable[..., TrainResult]


def seeing_the_lr_image() -> DecoderObjective:
    """A sub-pixel decoder with a body, which renders some samples from the condition alone."""
    made, lr = autoencoder(), DegradationConfig(factor=AUTOENCODER.factor)
    torch.manual_seed(2)
    decoder = NeuralDecoder(AUTOENCODER, RendererConfig(kind="shuffle"), BodyConfig(channels=8, blocks=1))
    loss = DecoderLoss(lr_share=0.5)
    return DecoderObjective(made.encoder, decoder, loss, partial(degrade, lr), restore=partial(restore_size, lr))


def system_that_sees_the_lr_image() -> LatentSystem:
    """A residual system with a body, whose LR image is as large as its latent."""
    factor = AUTOENCODER.factor
    shuffle = RendererConfig(kind="shuffle", factor=factor)
    return tiny_system(renderer=shuffle, body=BodyConfig(channels=8, blocks=1), residual=True, base_scale=factor)


PATCHES = ImageTerms(adversarial=0.5, start=4, discriminator=DiscriminatorConfig(channels=8, layers=1))


def objectives() -> dict[str, Callable[[], Objective]]:
    return {
        "autoencoder": lambda: AutoencoderObjective(autoencoder(gaussian()), AutoencoderLoss()),
        "decoder": first_stage,
        "denoise": lambda: DenoiseObjective(tiny_system(), DenoiseLoss()),
        "denoise beside a body": lambda: DenoiseObjective(system_that_sees_the_lr_image(), DenoiseLoss()),
        "generation": lambda: DenoiseObjective(tiny_system(conditional=False), DenoiseLoss()),
        "joint": joint,
        "adversarial autoencoder": lambda: AutoencoderObjective(autoencoder(), AutoencoderLoss(image=PATCHES)),
        "adversarial decoder": lambda: first_stage(scales=(0.5, 1.0), image=PATCHES),
        "convolutional decoder": lambda: first_stage(renderer=RendererConfig(kind="conv", channels=8)),
        "decoder that sees the LR image": seeing_the_lr_image,
        "adversarial joint": lambda: JointObjective(tiny_system(), JointLoss(scales=(0.5, 1.0), image=PATCHES)),
    }


@pytest.mark.parametrize("stage", objectives())
def test_each_stage_resumes_bit_for_bit_and_draws_an_image(fit: Fit, stage: str) -> None:
    make = objectives()[stage]
    tracker = RecordingTracker()
    how = {
        "source": LatentBatches(),
        "config": TrainConfig(images=16, batch=4),
        "cadence": Cadence(log=20, image=2, checkpoint=2),
    }
    whole = fit(make(), key="whole", tracker=tracker, **how)
    calls = iter(range(99))
    with pytest.raises(ZeroDivisionError):
        fit(make(), key="cut", **how, stop_requested=lambda: 1 // (3 - next(calls)) > 9)
    assert digests(fit(make(), key="cut", fencing=2, **how)) == digests(whole)
    for image in tracker.images.values():
        assert image.dtype == np.uint8
        assert image.shape[0] == 2 * 16
        assert image.shape[2] == 3


@pytest.mark.parametrize("stage", objectives())
def test_an_image_leaves_modes_and_gradients_alone(stage: str) -> None:
    objective = objectives()[stage]()
    modes = [part.training for part in objective.model.modules()]
    objective.preview(latent_batch(count=6))
    assert [part.training for part in objective.model.modules()] == modes
    assert any(modes)
    assert all(parameter.grad is None for parameter in objective.model.parameters())
