"""The whole model: whitening, LR condition, odd sizes, and saving without surprises."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from lsr.core.errors import ConfigError, InputError, IntegrityError, VersionMismatchError
from lsr.diffusion.config import SamplerConfig, SamplerName
from lsr.diffusion.prediction import to_x0
from lsr.diffusion.samplers import ddim, sample
from lsr.models.config import AutoencoderConfig, DiffusionConfig, RendererConfig, SystemConfig, UNetConfig
from lsr.models.system import LatentSystem, load_system, save_system
from lsr.nn.pad import pad_to_multiple
from lsr.nn.random import normal
from lsr.nn.resize import resize

CONFIG = SystemConfig(
    autoencoder=AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, latent_channels=3),
    renderer=RendererConfig(hidden=(8, 8)),
    unet=UNetConfig(channels=8, multipliers=(1, 2), blocks=1, attention_factors=(2,), head_channels=8),
    diffusion=DiffusionConfig(steps=50, prediction="v"),
    base_scale=3,
)


@pytest.fixture
def system() -> LatentSystem:
    """A tiny super-resolution model in which no layer is idle; f = 2, U-Net factor 2, base scale 3."""
    system = LatentSystem(CONFIG)
    for parameter in system.parameters():
        if parameter.ndim > 1 and not bool(parameter.any()):
            nn.init.normal_(parameter, std=0.1)
    system.latent_mean.copy_(torch.tensor([0.5, -1.0, 2.0])[:, None, None])
    system.latent_std.copy_(torch.tensor([2.0, 0.5, 3.0])[:, None, None])
    return system.eval()


def test_whitening_is_a_channels_own_affine_map(system: LatentSystem) -> None:
    z = torch.randn(4, 3, 5, 6)
    torch.testing.assert_close(system.unwhiten(system.whiten(z)), z)
    torch.testing.assert_close(system.whiten(z)[:, 1], (z[:, 1] + 1.0) / 0.5)


def test_the_condition_is_the_whitened_latent_of_the_restored_image(system: LatentSystem) -> None:
    lr = torch.rand(2, 3, 4, 8) * 2 - 1
    restored = lr.repeat_interleave(3, -1).repeat_interleave(3, -2)
    assert system.latent_size((12, 24)) == (6, 12)
    torch.testing.assert_close(system.condition(lr), system.whiten(system.encoder(restored).mode()))


@pytest.mark.parametrize("kernel", ["nearest", "bilinear", "bicubic"])
def test_the_condition_is_restored_by_the_kernel_that_the_config_names(system: LatentSystem, kernel: str) -> None:
    lr = torch.rand(1, 3, 4, 8) * 2 - 1
    planes = [
        np.asarray(Image.fromarray(plane).resize((24, 12), Image.Resampling[kernel.upper()])) for plane in lr[0].numpy()
    ]
    system.config = replace(CONFIG, condition_upsample=kernel)
    wanted = system.whiten(system.encoder(torch.from_numpy(np.stack(planes))[None]).mode())
    torch.testing.assert_close(system.condition(lr), wanted, atol=1e-4, rtol=1e-4)


def test_a_zero_terminal_system_samples_from_noise_alone() -> None:
    made = LatentSystem(replace(CONFIG, diffusion=replace(CONFIG.diffusion, zero_terminal=True), conditional=False))
    assert float(made.schedule.alphas_cumprod[-1]) == 0
    with torch.no_grad():
        for sampler in get_args(SamplerName):
            z = sample(SamplerConfig(name=sampler, steps=4), made.denoiser(), made.schedule, normal([1], (3, 4, 6)))
            assert torch.isfinite(z).all()


def test_the_condition_is_the_mode_not_a_sample() -> None:
    gaussian = LatentSystem(replace(CONFIG, autoencoder=replace(CONFIG.autoencoder, bottleneck="kl")))
    lr = torch.rand(1, 3, 4, 4)
    assert torch.equal(gaussian.condition(lr), gaussian.condition(lr))


def test_an_odd_image_is_padded_by_its_edge_and_its_extent_remembers_the_image(system: LatentSystem) -> None:
    """LR 3 x 5 -> 9 x 15 pixels, padded to 12 x 16 = f * U-Net factor multiples; the image is 4.5 x 7.5 of 6 x 8."""
    lr = torch.rand(1, 3, 3, 5) * 2 - 1
    cond = system.condition(lr)
    assert cond.shape[-2:] == system.latent_size((9, 15)) == (6, 8)
    assert system.extent((9, 15)) == (4.5, 7.5)
    padded = pad_to_multiple(resize(lr, (9, 15), "nearest"), 4)
    assert torch.equal(padded[..., 9:, :15], padded[..., 8:9, :15].expand(-1, -1, 3, -1))
    torch.testing.assert_close(cond, system.whiten(system.encoder(padded).mode()))


def test_an_odd_image_is_decoded_without_its_padding(system: LatentSystem) -> None:
    """Rendered over its extent at 4 pixels a latent pixel, it is the top left of the padded image's render."""
    z = torch.randn(1, 3, 6, 8)
    image = system.decode(z, (18, 30), system.extent((9, 15)))
    torch.testing.assert_close(image, system.decode(z, (24, 32))[..., :18, :30], atol=1e-5, rtol=1e-5)


def test_decoding_takes_off_the_whitening(system: LatentSystem) -> None:
    z = torch.randn(1, 3, 4, 6)
    torch.testing.assert_close(system.decode(z, (10, 9)), system.decoder(system.unwhiten(z), (10, 9)))


def test_the_restored_size_can_be_asked_for(system: LatentSystem) -> None:
    assert system.condition(torch.rand(1, 3, 5, 5), (8, 16)).shape[-2:] == (4, 8)


def test_the_denoiser_returns_x0_whatever_the_network_predicts(system: LatentSystem) -> None:
    x, cond = torch.randn(2, 1, 3, 4, 6).unbind()
    t = torch.tensor([20])
    expected = to_x0("v", system.unet(x, t, cond), x, system.schedule.abar(t))
    torch.testing.assert_close(system.denoiser(cond)(x, t), expected)


def test_predicting_at_odd_sizes_pads_and_crops_exactly(system: LatentSystem) -> None:
    x, cond = torch.randn(2, 1, 3, 5, 7).unbind()
    t = torch.tensor([20])

    def grown(latent: Tensor) -> Tensor:
        return torch.cat([latent, latent[..., -1:]], -1)[..., [*range(5), 4], :]

    out = system.predict(x, t, cond)
    assert out.shape == x.shape
    torch.testing.assert_close(out, system.unet(grown(x), t, grown(cond))[..., :5, :7])


def test_sampled_images_do_not_depend_on_their_batch(system: LatentSystem) -> None:
    lr = torch.rand(3, 3, 4, 6) * 2 - 1
    with torch.no_grad():
        cond = system.condition(lr)
        shape = cond.shape[1:]
        together = ddim(system.denoiser(cond), system.schedule, normal([1, 2, 3], shape), 4, 1.0, [1, 2, 3])
        alone = ddim(system.denoiser(cond[1:2]), system.schedule, normal([2], shape), 4, 1.0, [2])
    torch.testing.assert_close(together[1:2], alone, atol=1e-5, rtol=1e-5)


def test_a_generator_takes_no_condition() -> None:
    system = LatentSystem(replace(CONFIG, conditional=False))
    x = torch.randn(1, 3, 4, 4)
    assert system.denoiser()(x, torch.tensor([3])).shape == x.shape
    with pytest.raises(InputError, match="takes no LR condition"):
        system.condition(torch.rand(1, 3, 4, 4))
    with pytest.raises(InputError, match="takes no condition"):
        system.denoiser(x)


def test_super_resolution_needs_its_condition(system: LatentSystem) -> None:
    with pytest.raises(InputError, match="needs an LR condition"):
        system.denoiser()


def test_gradients_pass_the_frozen_decoder(system: LatentSystem) -> None:
    """The image loss of Eq 9 reaches the latent although no decoder weight is trained."""
    system.requires_grad_(False)
    z = torch.randn(1, 3, 4, 4, requires_grad=True)
    system.decode(z, (9, 7)).square().sum().backward()
    assert z.grad is not None
    assert bool(z.grad.all())


def test_saving_and_loading_changes_nothing(system: LatentSystem) -> None:
    config, weights = save_system(system.state_dict(), system.config)
    loaded = load_system(config, weights)
    assert loaded.config == system.config
    assert not loaded.training
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in system.state_dict().items())
    assert save_system(loaded.state_dict(), loaded.config) == (config, weights)
    lr = torch.rand(1, 3, 4, 4)
    assert torch.equal(loaded.condition(lr), system.condition(lr))
    assert torch.equal(loaded.schedule.alphas_cumprod, system.schedule.alphas_cumprod)


def test_another_format_version_is_rejected(system: LatentSystem) -> None:
    config, weights = save_system(system.state_dict(), system.config)
    newer = json.dumps({**json.loads(config), "format": 2}).encode()
    with pytest.raises(VersionMismatchError, match=r"models/7: .* format 2, this code reads format 1"):
        load_system(newer, weights, "models/7")


@pytest.mark.parametrize("broken", [b"{", b"[]", b'{"format": 1}', b"\xff"])
def test_a_config_that_is_none_is_rejected(broken: bytes) -> None:
    with pytest.raises(IntegrityError, match="its config"):
        load_system(broken, b"")


def test_an_unknown_field_is_rejected(system: LatentSystem) -> None:
    config, weights = save_system(system.state_dict(), system.config)
    record = json.loads(config)
    record["config"]["unet"]["chanels"] = 8
    with pytest.raises(ConfigError, match="chanels"):
        load_system(json.dumps(record).encode(), weights)


def test_weights_that_do_not_fit_are_named(system: LatentSystem) -> None:
    """Missing, unexpected and ill-shaped tensors in one message; nothing is loaded in part."""
    state = dict(system.state_dict())
    del state["unet.conv_in.bias"]
    state["unet.extra"] = torch.zeros(1)
    state["latent_mean"] = torch.zeros(4, 1, 1)
    state["latent_std"] = torch.ones(3, 1, 1, dtype=torch.float16)
    config, weights = save_system(state, system.config)
    with pytest.raises(IntegrityError) as caught:
        load_system(config, weights, "models/7")
    for part in ("models/7", "unet.conv_in.bias", "unet.extra", "latent_mean", "latent_std", "float16"):
        assert part in str(caught.value)


def test_bytes_that_are_no_safetensors_are_rejected(system: LatentSystem) -> None:
    config, weights = save_system(system.state_dict(), system.config)
    for broken in (b"", b"PK\x03\x04 pickle", weights[: len(weights) // 2]):
        with pytest.raises(IntegrityError, match="not a safetensors file"):
            load_system(config, broken)


def test_saved_weights_are_plain_safetensors(system: LatentSystem) -> None:
    _, weights = save_system(system.state_dict(), system.config)
    assert safetensors.torch.load(weights).keys() == system.state_dict().keys()


def as_residual(system: LatentSystem) -> LatentSystem:
    """The same weights, rendering onto the bicubic image."""
    residual = LatentSystem(replace(CONFIG, residual=True))
    residual.load_state_dict(system.state_dict())
    return residual.eval()


def test_a_residual_system_adds_its_render_to_the_bicubic_image(system: LatentSystem) -> None:
    z, lr = torch.randn(2, 3, 6, 8), torch.rand(2, 3, 4, 5) * 2 - 1
    size, extent = (19, 23), (6.0, 7.5)
    expected = system.decode(z, size, extent) + resize(lr, size, "bicubic")
    torch.testing.assert_close(as_residual(system).decode(z, size, extent, lr=lr), expected)


def test_rows_of_a_residual_image_are_those_of_the_whole(system: LatentSystem) -> None:
    residual, features = as_residual(system), torch.randn(1, 8, 6, 8)
    lr = torch.rand(1, 3, 4, 5) * 2 - 1
    whole = residual.render(features, (19, 23), lr=lr)
    torch.testing.assert_close(residual.render(features, (19, 23), rows=(4, 11), lr=lr), whole[:, :, 4:11])


def test_a_residual_needs_something_to_be_added_to(system: LatentSystem) -> None:
    with pytest.raises(InputError, match="LR image"):
        as_residual(system).decode(torch.randn(1, 3, 6, 8), (19, 23))
    assert replace(CONFIG, residual=True, conditional=False).faults()
    assert not replace(CONFIG, residual=True).faults()
