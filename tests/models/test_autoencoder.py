"""Encoder, symmetric decoder and the two forms of the latter."""

from __future__ import annotations

import pytest
import torch

from lsr.core.errors import InputError
from lsr.models.autoencoder import Autoencoder, Encoder, Moments
from lsr.models.config import AutoencoderConfig, RendererConfig
from lsr.models.neural_decoder import NeuralDecoder

TINY = AutoencoderConfig(channels=8, multipliers=(1, 2, 2), blocks=1, latent_channels=3)
GAUSSIAN = AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, latent_channels=5, bottleneck="kl")


def test_a_non_square_image_becomes_its_fth_part_and_back() -> None:
    autoencoder = Autoencoder(TINY)
    x = torch.rand(2, 3, 24, 40)
    moments = autoencoder.encode(x)
    assert moments.mode().shape == (2, 3, 6, 10)
    assert moments.std is None
    assert autoencoder(x).shape == x.shape


def test_the_gaussian_bottleneck_samples_around_its_mode() -> None:
    """The encoder's last convolution gives means, then log variances."""
    encoder, x = Encoder(GAUSSIAN), torch.rand(2, 3, 8, 12)
    last: list[torch.Tensor] = []
    encoder.to_moments.register_forward_hook(lambda _, __, out: last.append(out))
    moments = encoder(x)
    torch.testing.assert_close(moments.mean, last[0][:, :5])
    torch.testing.assert_close(moments.std.square().log(), last[0][:, 5:])
    assert moments.mean.shape == (2, 5, 4, 6)
    noise = torch.randn_like(moments.mean)
    torch.testing.assert_close((moments.sample(noise) - moments.mode()) / moments.std, noise, atol=1e-4, rtol=1e-4)
    assert bool((moments.std > 0).all())


def test_a_plain_bottleneck_ignores_noise() -> None:
    mean = torch.rand(1, 3, 2, 2)
    assert Moments(mean, None).sample(torch.randn_like(mean)) is mean


def test_sides_that_f_does_not_divide_are_rejected() -> None:
    """Silently losing rows would shift every pixel of the render."""
    with pytest.raises(InputError, match=r"multiples of 4, found \(24, 42\)"):
        Encoder(TINY)(torch.rand(1, 3, 24, 42))


def test_the_neural_decoder_starts_from_the_autoencoders_decoder() -> None:
    """Every weight of D_phi comes from the autoencoder; only the up-sampling layers have no counterpart."""
    autoencoder, neural = Autoencoder(TINY), NeuralDecoder(TINY, RendererConfig(hidden=(8,)))
    neural.init_from(autoencoder)
    source, trunk = autoencoder.decoder.state_dict(), neural.trunk.state_dict()
    assert all(torch.equal(value, source[name]) for name, value in trunk.items())
    assert {name.split(".")[0] for name in source.keys() - trunk.keys()} == {"ups"}
    neural.trunk.conv_in.weight.data.zero_()
    assert bool(autoencoder.decoder.conv_in.weight.any()), "a copy, not a shared tensor"


def test_without_up_sampling_both_forms_are_one_function() -> None:
    """At f = 1 there is nothing to leave out, so D_phi computes exactly the autoencoder's decoder features."""
    config = AutoencoderConfig(channels=8, multipliers=(2,), blocks=1)
    autoencoder, neural = Autoencoder(config), NeuralDecoder(config, RendererConfig(hidden=(8,)))
    neural.init_from(autoencoder)
    z = torch.randn(1, 3, 5, 6)
    assert torch.equal(neural.features(z), autoencoder.decoder(z))


def test_features_stay_at_the_latents_resolution() -> None:
    features = NeuralDecoder(TINY, RendererConfig(hidden=(8,))).features(torch.randn(2, 3, 6, 10))
    assert features.shape == (2, 8, 6, 10)


def test_middle_attention_can_be_left_out() -> None:
    config = AutoencoderConfig(channels=8, multipliers=(1,), blocks=1, mid_attention=False)
    names = Autoencoder(config).state_dict()
    assert not any("attention" in name for name in names)
    assert any("attention" in name for name in Autoencoder(TINY).state_dict())


def test_a_few_steps_of_training_reduce_the_error() -> None:
    autoencoder = Autoencoder(AutoencoderConfig(channels=8, multipliers=(1, 2), blocks=1, latent_channels=8))
    optimiser = torch.optim.Adam(autoencoder.parameters(), lr=1e-2)
    x = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4) * 2 - 1, (16, 16), mode="bilinear")
    losses = []
    for _ in range(30):
        loss = (autoencoder(x) - x).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
