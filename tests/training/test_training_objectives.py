"""What each stage minimises, written out again in float64 or checked by finite differences."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lsr.core.errors import ConfigError
from lsr.models.autoencoder import Moments
from lsr.models.config import DiffusionConfig
from lsr.models.neural_decoder import NeuralDecoder
from lsr.models.system import LatentSystem
from lsr.nn.resize import resize
from lsr.nn.units import from_levels, to_bytes
from lsr.training.config import AutoencoderLoss, Cadence, DecoderLoss, DenoiseLoss, ImageTerms, JointLoss, TrainConfig
from lsr.training.loop import TrainResult
from lsr.training.objectives.autoencoder import AutoencoderObjective, kl_per_value
from lsr.training.objectives.decoder import DecoderObjective
from lsr.training.objectives.denoise import DenoiseObjective
from lsr.training.objectives.joint import JointObjective
from lsr.training.objectives.latent import noised
from lsr.training.objectives.pixels import grid, scaled_size, truth_at
from lsr.training.protocols import Draws
from tests.training.kit import (
    RENDERER,
    LatentBatches,
    RecordingTracker,
    autoencoder,
    first_stage,
    gaussian,
    joint,
    latent_batch,
    tiny_system,
)

Fit = Callable[..., TrainResult]
DRAWS = Draws(seed=5, stage="test", step=3, first=2)


def in_float64(system: LatentSystem) -> LatentSystem:
    """A copy that computes in float64; the time embedding itself is always made in float32."""
    exact = copy.deepcopy(system).double()
    exact.unet.embed_in.register_forward_pre_hook(lambda layer, inputs: (inputs[0].double(),))
    return exact


def state_bytes(module: nn.Module) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in module.state_dict().items()}


# Stage autoencoder


def test_kl_is_that_of_torch_distributions() -> None:
    mean, std = torch.randn(2, 3, 4, 4), torch.rand(2, 3, 4, 4) + 0.1
    reference = torch.distributions.kl_divergence(
        torch.distributions.Normal(mean, std), torch.distributions.Normal(0.0, 1.0)
    )
    assert torch.allclose(kl_per_value(Moments(mean, std)), reference.mean(), rtol=1e-5)
    assert kl_per_value(Moments(mean, None)).item() == 0


def test_the_autoencoder_loss_is_l1_plus_weighted_kl() -> None:
    objective = AutoencoderObjective(autoencoder(gaussian()), AutoencoderLoss(kl_weight=0.5))
    batch = latent_batch()
    loss, terms = objective.loss(batch, DRAWS)
    x = batch["tile"].double() / 127.5 - 1
    moments = objective.model.encode(x.float())
    z = moments.mean + moments.std * DRAWS.noise(batch["position"], moments.mean, "posterior")
    reconstruction = (objective.model.decode(z).double() - x).abs().mean()
    assert terms["reconstruction"].item() == pytest.approx(reconstruction.item(), rel=1e-5)
    assert terms["kl"] > 0
    assert loss.item() == pytest.approx(reconstruction.item() + 0.5 * terms["kl"].item(), rel=1e-5)


def test_a_plain_autoencoder_draws_nothing() -> None:
    objective = AutoencoderObjective(autoencoder(), AutoencoderLoss())
    losses = [objective.loss(latent_batch(), Draws(seed=s, stage="a", step=0, first=0))[0].item() for s in (1, 2)]
    assert losses[0] == losses[1]


# Stage decoder


def test_the_decoder_is_compared_with_the_antialiased_tile() -> None:
    """The truth at half size is what Pillow's antialiased bicubic makes of the tile."""
    objective = first_stage(scales=(0.5, 0.5))
    batch = latent_batch(count=1)
    loss, terms = objective.loss(batch, DRAWS)
    with torch.no_grad():
        image = objective.model.decoder(objective.model.encoder(from_levels(batch["tile"])).mode(), (8, 8))
    planes = [
        np.asarray(Image.fromarray(plane).resize((8, 8), Image.Resampling.BICUBIC))
        for plane in from_levels(batch["tile"])[0].numpy()
    ]
    truth = np.stack(planes).clip(-1, 1)
    assert loss.item() == pytest.approx(float(np.abs(image[0].numpy() - truth).mean()), rel=1e-4)
    assert terms["scale"].item() == 0.5


def small(x: Tensor) -> Tensor:
    """A degradation by 4."""
    return resize(x, (x.shape[-2] // 4, x.shape[-1] // 4)).clamp(-1, 1)


def nearest(lr: Tensor, size: tuple[int, int]) -> Tensor:
    return resize(lr, size, "nearest")


def test_a_residual_decoder_is_compared_after_the_bicubic_image_is_added() -> None:
    plain = first_stage(scales=(0.5, 0.5))
    residual = DecoderObjective(plain.model.encoder, plain.model.decoder, plain.config, small)
    batch = latent_batch(count=1)
    x = from_levels(batch["tile"])
    with torch.no_grad():
        added = plain.model.decoder(plain.model.encoder(x).mode(), (8, 8)) + resize(small(x), (8, 8))
        expected = (added.double() - truth_at(x, (8, 8)).double()).abs().mean()
        found = residual.loss(batch, DRAWS)[0]
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    assert found.item() != pytest.approx(plain.loss(batch, DRAWS)[0].item(), rel=1e-2)


def test_a_share_of_the_samples_is_rendered_from_the_condition() -> None:
    """lr_share 1: the loss of rendering from the mode of the restored LR images; between, each sample is either."""
    plain = first_stage(scales=(0.5, 0.5))
    batch = latent_batch(count=6)
    x = from_levels(batch["tile"])

    def objective(share: float) -> DecoderObjective:
        config = replace(plain.config, lr_share=share)
        return DecoderObjective(plain.model.encoder, plain.model.decoder, config, small, None, nearest)

    with torch.no_grad():
        from_lr = plain.model.encoder(nearest(small(x), (16, 16))).mode()
        added = plain.model.decoder(from_lr, (8, 8)) + resize(small(x), (8, 8))
        expected = (added.double() - truth_at(x, (8, 8)).double()).abs().mean()
        whole, none, half = (objective(share).loss(batch, DRAWS)[0] for share in (1.0, 0.0, 0.5))
        residual = DecoderObjective(plain.model.encoder, plain.model.decoder, plain.config, small)
        assert none == residual.loss(batch, DRAWS)[0]
        z = objective(0.5)._latents(batch["position"], x, small(x), DRAWS)
        from_tile = plain.model.encoder(x).mode()
    assert whole.item() == pytest.approx(expected.item(), rel=1e-5)
    assert half.item() not in (whole.item(), none.item())
    given = DRAWS.chance(batch["position"], 0.5)
    assert 0 < given.sum() < len(given)
    for n, condition in enumerate(given.tolist()):
        assert torch.allclose(z[n], (from_lr if condition else from_tile)[n], atol=1e-6)


def test_the_condition_is_never_sampled() -> None:
    made = autoencoder(gaussian())
    decoder = NeuralDecoder(gaussian(), RENDERER)
    objective = DecoderObjective(made.encoder, decoder, DecoderLoss(lr_share=1.0), small, None, nearest)
    batch = latent_batch(count=2)
    x = from_levels(batch["tile"])
    with torch.no_grad():
        z = objective._latents(batch["position"], x, small(x), DRAWS)
        mode = made.encoder(nearest(small(x), (16, 16))).mode()
    assert torch.equal(z, mode)


def test_chances_follow_the_share_and_the_position_alone() -> None:
    positions = torch.arange(4000)
    given = DRAWS.chance(positions, 0.3)
    assert given.float().mean().item() == pytest.approx(0.3, abs=0.03)
    later = Draws(seed=DRAWS.seed, stage=DRAWS.stage, step=9, first=0)
    assert torch.equal(later.chance(positions[::7], 0.3), given[::7])


@pytest.mark.parametrize("frozen", [True, False])
def test_the_encoder_is_fixed_or_not_as_configured(fit: Fit, frozen: bool) -> None:
    objective = first_stage(freeze_encoder=frozen)
    encoder, decoder = state_bytes(objective.model.encoder), state_bytes(objective.model.decoder)
    fit(objective, source=LatentBatches(), config=TrainConfig(images=12, batch=4))
    assert (state_bytes(objective.model.encoder) == encoder) is frozen
    assert state_bytes(objective.model.decoder) != decoder
    assert objective.model.decoder.training
    assert objective.model.encoder.training is not frozen


def test_the_product_of_the_decoder_stage_is_named_as_in_the_system() -> None:
    names = set(first_stage().model.state_dict())
    system = set(tiny_system().state_dict())
    assert names == {name for name in system if name.startswith(("encoder.", "decoder."))}


def test_the_truth_is_an_image() -> None:
    """The bicubic kernel overshoots at an edge; an image cannot."""
    edge = torch.ones(1, 3, 12, 12)
    edge[..., :6] = -1
    for side in (8, 12, 19):
        truth = truth_at(edge, (side, side))
        assert truth.shape == (1, 3, side, side)
        assert (truth.min().item(), truth.max().item()) == (-1, 1)


def test_render_sizes_follow_the_scale() -> None:
    tile = torch.zeros(1, 3, 16, 10)
    assert scaled_size(tile, 0.5) == (8, 5)
    assert scaled_size(tile, 1.3) == (21, 13)
    assert scaled_size(tile, 0.01) == (1, 1)


# Stage denoise


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("loss", [DenoiseLoss(), DenoiseLoss(norm="l1"), DenoiseLoss(weighting="min-snr", gamma=2.0)])
def test_the_denoising_loss_is_equation_4(prediction: Any, loss: DenoiseLoss) -> None:
    system = tiny_system(diffusion=DiffusionConfig(steps=100, prediction=prediction))
    batch = latent_batch(count=3)
    found, terms = DenoiseObjective(system, loss).loss(batch, DRAWS)
    assert terms == {}
    t = DRAWS.timesteps(batch["position"], 100)
    abar = system.schedule.alphas_cumprod[t][:, None, None, None]
    z0 = (batch["hr_mean"].double() - 0.3) / 1.7
    noise = DRAWS.noise(batch["position"], batch["hr_mean"]).double()
    x_t = abar.sqrt() * z0 + (1 - abar).sqrt() * noise
    cond = (batch["lr"].double() - 0.3) / 1.7
    wanted = {"eps": noise, "x0": z0, "v": abar.sqrt() * noise - (1 - abar).sqrt() * z0}[prediction]
    output = in_float64(system).unet(x_t, t, cond)
    error = ((output - wanted).abs() if loss.norm == "l1" else (output - wanted) ** 2).mean(dim=(1, 2, 3))
    snr = (abar / (1 - abar)).flatten()
    on_x0 = snr.clamp(max=2.0)
    weight = {"eps": on_x0 / snr, "x0": on_x0, "v": on_x0 / (snr + 1)}[prediction]
    if loss.weighting == "uniform":
        weight = torch.ones_like(weight)
    assert found.item() == pytest.approx((weight * error).mean().item(), rel=1e-4)


@pytest.mark.parametrize("power", [1.0, 2.5])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_dream_feeds_the_networks_own_error_back(prediction: Any, power: float) -> None:
    """DREAM in float64: x_t + sqrt(1 - abar) lambda (eps - eps_theta), target eps + lambda (eps - eps_theta), with
    lambda = sqrt(1 - abar)^p and the first forward without a gradient.
    """
    system = tiny_system(diffusion=DiffusionConfig(steps=100, prediction=prediction))
    batch = latent_batch(count=3)
    found, _ = DenoiseObjective(system, DenoiseLoss(dream=power)).loss(batch, DRAWS)
    found.backward()
    gradient = system.unet.get_parameter("conv_in.weight").grad
    exact = in_float64(system)
    exact.zero_grad()
    t = DRAWS.timesteps(batch["position"], 100)
    abar = system.schedule.alphas_cumprod[t][:, None, None, None]
    a, s = abar.sqrt(), (1 - abar).sqrt()
    z0, cond = ((batch[name].double() - 0.3) / 1.7 for name in ("hr_mean", "lr"))
    noise = DRAWS.noise(batch["position"], batch["hr_mean"]).double()
    x_t = a * z0 + s * noise
    with torch.no_grad():
        output = exact.unet(x_t, t, cond)
    estimate = {"eps": output, "x0": (x_t - a * output) / s, "v": s * x_t + a * output}[prediction]
    rate = s**power
    moved = x_t + s * rate * (noise - estimate)
    rectified = noise + rate * (noise - estimate)
    wanted = {"eps": rectified, "x0": z0, "v": a * rectified - s * z0}[prediction]
    loss = (exact.unet(moved, t, cond) - wanted).square().mean()
    loss.backward()
    assert found.item() == pytest.approx(loss.item(), rel=1e-4)
    expected = exact.unet.get_parameter("conv_in.weight").grad
    assert gradient is not None
    assert expected is not None
    torch.testing.assert_close(gradient.double(), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    plain, _ = DenoiseObjective(system, DenoiseLoss()).loss(batch, DRAWS)
    assert plain.item() != pytest.approx(found.item(), rel=1e-3)


def test_dream_keeps_gradients_under_autocast_and_serves_the_joint_stage() -> None:
    """The forward without a gradient must not leave its rounded weights to the one with."""
    system, batch = tiny_system(), latent_batch()
    objective = JointObjective(system, JointLoss(image_weight=0.0), DenoiseLoss(dream=1.0))
    _, terms = objective.loss(batch, DRAWS)
    assert terms["denoise"].item() == DenoiseObjective(system, DenoiseLoss(dream=1.0)).loss(batch, DRAWS)[0].item()
    with torch.autocast("cpu", torch.bfloat16):
        objective.loss(batch, DRAWS)[0].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in system.unet.parameters())


def test_a_gaussian_latent_is_sampled_by_position() -> None:
    system = tiny_system()
    with_std, without = latent_batch(count=4, std=True), latent_batch(count=4)
    sampled = noised(system, with_std, DRAWS).z0
    posterior = DRAWS.noise(with_std["position"], with_std["hr_mean"], "posterior")
    assert torch.allclose(sampled, system.whiten(with_std["hr_mean"] + 0.2 * posterior))
    assert torch.equal(noised(system, without, DRAWS).z0, system.whiten(without["hr_mean"]))
    part = {name: value[2:3] for name, value in with_std.items()}
    assert torch.equal(noised(system, part, DRAWS).x_t, noised(system, with_std, DRAWS).x_t[2:3])


def test_generation_takes_no_condition_and_upscaling_needs_one() -> None:
    batch = latent_batch()
    del batch["lr"]
    DenoiseObjective(tiny_system(conditional=False), DenoiseLoss()).loss(batch, DRAWS)
    with pytest.raises(ConfigError, match="needs the LR latent 'lr' in each batch, found position, tile, hr_mean"):
        DenoiseObjective(tiny_system(), DenoiseLoss()).loss(batch, DRAWS)


# Stage joint


def image_loss(system: LatentSystem, config: JointLoss, batch: dict[str, Tensor]) -> Tensor:
    """L_recon of Eq 7-9 for eps prediction, written out in the type of the system's weights."""
    dtype = system.latent_mean.dtype
    t = DRAWS.timesteps(batch["position"], system.schedule.steps)
    abar = system.schedule.alphas_cumprod[t].to(dtype)[:, None, None, None]
    z0 = (batch["hr_mean"].to(dtype) - system.latent_mean) / system.latent_std
    cond = (batch["lr"].to(dtype) - system.latent_mean) / system.latent_std
    noise = DRAWS.noise(batch["position"], batch["hr_mean"]).to(dtype)
    x_t = abar.sqrt() * z0 + (1 - abar).sqrt() * noise
    z0_hat = (x_t - (1 - abar).sqrt() * system.unet(x_t, t, cond)) / abar.sqrt()
    side = round(16 * DRAWS.scale(*config.scales))
    image = system.decoder(z0_hat * system.latent_std + system.latent_mean, (side, side))
    tile = batch["tile"].to(dtype) / 127.5 - 1
    truth = nn.functional.interpolate(tile, (side, side), mode="bicubic", antialias=True).clamp(-1, 1)
    power = 1 if config.image.l1 else 2
    error = (image - truth).abs().pow(power).mean(dim=(1, 2, 3))
    weight = (abar / (1 - abar)).flatten()
    return ((weight if config.cap is None else weight.clamp(max=config.cap)) * error).mean()


SQUARED = ImageTerms(l1=0.0, l2=1.0)
JOINT = [
    JointLoss(denoise_weight=0.0, scales=(0.4, 0.9)),
    JointLoss(denoise_weight=0.0, image=SQUARED, scales=(1.0, 1.0)),
    JointLoss(denoise_weight=0.0, image=SQUARED, scales=(1.0, 1.0), cap=None),
]


@pytest.mark.parametrize("config", JOINT)
def test_the_image_gradient_through_the_decoder_is_a_finite_difference(config: JointLoss) -> None:
    """Central differences in float64 on a loss written out independently, for weights all over the U-Net."""
    system, batch = tiny_system(), latent_batch()
    loss, terms = JointObjective(system, config).loss(batch, DRAWS)
    loss.backward()
    exact = in_float64(system)
    with torch.no_grad():
        assert loss.item() == pytest.approx(image_loss(exact, config, batch).item(), rel=1e-4)
    assert terms["image"].item() == pytest.approx(loss.item())
    step = 1e-6
    for name in ("conv_in.weight", "embed_in.bias", "middle_in.block.conv_in.weight", "conv_out.weight"):
        gradient = system.unet.get_parameter(name).grad
        assert gradient is not None
        weights = exact.unet.get_parameter(name)
        for index in gradient.abs().flatten().topk(2).indices.tolist():
            values = []
            for sign in (1, -1):
                with torch.no_grad():
                    weights.view(-1)[index] += sign * step
                    values.append(image_loss(exact, config, batch).item())
                    weights.view(-1)[index] -= sign * step
            difference = (values[0] - values[1]) / (2 * step)
            assert abs(difference) > 1e-6, "a difference of zero would prove nothing"
            assert gradient.view(-1)[index].item() == pytest.approx(difference, rel=2e-3), (name, index)


def test_joint_is_the_weighted_sum_of_both() -> None:
    system, batch = tiny_system(), latent_batch()
    loss, terms = JointObjective(system, JointLoss(denoise_weight=0.7, image_weight=0.2)).loss(batch, DRAWS)
    assert loss.item() == pytest.approx(0.7 * terms["denoise"].item() + 0.2 * terms["image"].item(), rel=1e-6)
    alone, _ = DenoiseObjective(system, DenoiseLoss()).loss(batch, DRAWS)
    assert terms["denoise"].item() == alone.item()
    by_l1 = DenoiseLoss(norm="l1")
    _, terms = JointObjective(system, JointLoss(), by_l1).loss(batch, DRAWS)
    assert terms["denoise"].item() == DenoiseObjective(system, by_l1).loss(batch, DRAWS)[0].item()


def test_the_cap_limits_the_image_weight() -> None:
    system, batch = tiny_system(diffusion=DiffusionConfig(steps=2)), latent_batch()
    small, large = (JointObjective(system, JointLoss(cap=cap)).loss(batch, DRAWS)[1]["image"] for cap in (1.0, 10.0))
    assert system.schedule.snr.min() > 10
    assert large.item() == pytest.approx(10 * small.item(), rel=1e-5)


def test_a_residual_systems_image_error_is_that_of_the_sum() -> None:
    plain, residual, batch = tiny_system(), tiny_system(residual=True), latent_batch()
    config = JointLoss(denoise_weight=0.0, scales=(0.5, 0.5))
    at = noised(plain, batch, DRAWS)
    with torch.no_grad():
        z0 = at.z0_hat(plain, plain.predict(at.x_t, at.t, at.cond))
        x = from_levels(batch["tile"])
        image = plain.decode(z0, (8, 8)).double() + resize(small(x), (8, 8)).double()
        per_sample = (image - truth_at(x, (8, 8)).double()).abs().mean(dim=(1, 2, 3))
        expected = ((at.abar / (1 - at.abar)).clamp(max=config.cap) * per_sample).mean()
        found = JointObjective(residual, config, degrade=small).loss(batch, DRAWS)[0]
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)


TRAIN = TrainConfig(images=16, batch=4, lr=1e-3)
EVERY_STEP = Cadence(log=1, checkpoint=2)


def test_joint_training_changes_the_unet_and_not_one_byte_of_the_rest(fit: Fit) -> None:
    objective = joint()
    before = state_bytes(objective.system)
    fit(objective, source=LatentBatches(), config=TRAIN)
    after = state_bytes(objective.system)
    changed = {name.split(".")[0] for name in before if before[name] != after[name]}
    assert changed == {"unet"}
    with_gradient = {name.split(".")[0] for name, p in objective.system.named_parameters() if p.grad is not None}
    assert with_gradient == {"unet"}, "no gradient is kept for what does not train"


def test_without_alignment_the_weights_are_others_and_the_decoder_is_not_run(
    fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_alignment = fit(joint(image_weight=1.0), key="on", source=LatentBatches(), config=TRAIN)

    def reject(*args: object, **kwargs: object) -> Tensor:
        raise AssertionError("the decoder must not run")

    monkeypatch.setattr(NeuralDecoder, "features", reject)
    monkeypatch.setattr(NeuralDecoder, "render", reject)
    without = fit(joint(image_weight=0.0), key="off", source=LatentBatches(), config=TRAIN)
    assert with_alignment.ema.sha256 != without.ema.sha256


def test_the_drawn_scale_is_logged(fit: Fit) -> None:
    tracker = RecordingTracker()
    fit(joint(), source=LatentBatches(), config=TRAIN, cadence=EVERY_STEP, tracker=tracker)
    for step, values in tracker.logged.items():
        drawn = Draws(seed=7, stage="test", step=step - 1, first=0).scale(0.25, 1.0)
        assert values["scale"] == pytest.approx(drawn, rel=1e-6)


# All stages


# The 16-pixel tiles, and their renders at a quarter, are large enough for a discriminator that halves once.
def test_images_stand_side_by_side() -> None:
    white, black = torch.ones(2, 3, 4, 4), -torch.ones(2, 3, 2, 2)
    image = grid([white, black])
    assert image.shape == (8, 8, 3)
    assert (image[:, :4] == 255).all()
    assert (image[:, 4:] == 0).all()


def test_bytes_survive_the_way_through_floats() -> None:
    every = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(to_bytes(from_levels(every)), every)
    assert to_bytes(torch.tensor([[[-9.0]], [[9.0]], [[0.0]]])).flatten().tolist() == [0, 255, 128]
