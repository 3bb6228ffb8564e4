"""DISTS: the metric against the paper's equations spelled out in float64, and the genuine weights on known images.

Set LSR_TEST_DISTS to the folder that `lsr data get dists` made, with the authors' r0.png and r1.png beside the weights
(their repository's images/), to run the test that needs them. `make test-slow` fetches the weights (tests/sets).
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import save_file

from lsr.core.errors import InputError, IntegrityError
from lsr.metrics import Dists, find_dists
from lsr.metrics.dists import CHANNELS, build_dists

WEIGHTS = os.environ.get("LSR_TEST_DISTS", "")


@pytest.fixture(scope="module")
def metric() -> Dists:
    """Random weights of a sensible size."""
    torch.manual_seed(0)
    made = Dists()
    with torch.no_grad():
        for conv in made.conv:
            conv.weight.normal_(0, (2 / conv.weight[0].numel()) ** 0.5)
            conv.bias.normal_(0, 0.1)
        made.alpha.uniform_(0, 1)
        made.beta.uniform_(0, 1)
    return made


def slow_features(m: Dists, image: torch.Tensor) -> list[torch.Tensor]:
    """The image and five stages, with L2 pooling as a loop over the nine weights of its window."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float64).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float64).view(3, 1, 1)
    hann = np.hanning(5)[1:-1]
    weights = np.outer(hann, hann) / np.outer(hann, hann).sum()
    x, out = (image.double() - mean) / std, [image.double()]
    for i, conv in enumerate(m.conv):
        if i in (2, 4, 7, 10):
            out.append(x)
            height, width = (x.shape[1] + 1) // 2, (x.shape[2] + 1) // 2
            padded = F.pad(x**2, (1, 2, 1, 2))
            pooled = sum(
                weights[dy, dx] * padded[:, dy : dy + 2 * height : 2, dx : dx + 2 * width : 2]
                for dy in range(3)
                for dx in range(3)
            )
            x = torch.sqrt(pooled + 1e-12)
        x = F.relu(F.conv2d(x[None], conv.weight.double(), conv.bias.double(), padding=1))[0]
    return [*out, x]


def slow_dists(m: Dists, a: torch.Tensor, b: torch.Tensor) -> float:
    """Equations 5 to 7 for one image in float64."""
    alpha, beta = m.alpha.double(), m.beta.double()
    total, value, start = alpha.sum() + beta.sum(), 1.0, 0
    for x, y in zip(slow_features(m, a), slow_features(m, b)):
        for channel in range(len(x)):
            p, q = x[channel].flatten().numpy(), y[channel].flatten().numpy()
            cov = np.mean(p * q) - p.mean() * q.mean()
            texture = (2 * p.mean() * q.mean() + 1e-6) / (p.mean() ** 2 + q.mean() ** 2 + 1e-6)
            structure = (2 * cov + 1e-6) / (p.var() + q.var() + 1e-6)
            value -= float((alpha[start] * texture + beta[start] * structure) / total)
            start += 1
    return value


@pytest.mark.parametrize("size", [(32, 32), (41, 34)])
def test_the_metric_computes_the_papers_equations(metric: Dists, size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    a = torch.rand(2, 3, *size)
    b = (a + 0.2 * torch.randn(2, 3, *size)).clamp(0, 1)
    expected = [slow_dists(metric, x, y) for x, y in zip(a, b)]
    assert min(expected) > 0.01
    np.testing.assert_allclose(metric(a, b).numpy(), expected, rtol=1e-4)


def test_equal_images_have_distance_zero_and_order_does_not_matter(metric: Dists) -> None:
    a, b = torch.rand(2, 2, 3, 32, 32).unbind()
    assert metric(a, a).tolist() == [0, 0]
    torch.testing.assert_close(metric(a, b), metric(b, a))


def test_texture_drawn_elsewhere_costs_less_than_texture_smoothed_away(metric: Dists) -> None:
    """What sets it apart from a distance of pixels, where the shifted noise is the worse one."""
    generator = torch.Generator().manual_seed(2)
    a, other = (0.5 + 0.2 * torch.randn(1, 3, 64, 64, generator=generator) for _ in range(2))
    smooth = torch.full_like(a, 0.5)
    assert (a - other).square().mean() > (a - smooth).square().mean()
    assert metric(a, other).item() < metric(a, smooth).item()


def test_gradients_reach_the_images_only(metric: Dists) -> None:
    a = torch.zeros(1, 3, 32, 32, requires_grad=True)
    metric(a, torch.rand(1, 3, 32, 32)).sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_images_below_32_pixels_are_rejected(metric: Dists) -> None:
    small = torch.zeros(1, 3, 64, 31)
    with pytest.raises(InputError, match="DISTS needs images of at least 32 x 32 pixels, found 64 x 31"):
        metric(small, small)


def test_weights_are_found_in_the_cache_and_others_rejected(metric: Dists, tmp_path: Path) -> None:
    assert find_dists(tmp_path) is None
    path = tmp_path / "sets" / "dists" / "dists.safetensors"
    path.parent.mkdir(parents=True)
    save_file(metric.state_dict(), path)
    found = find_dists(tmp_path)
    assert found is not None
    a, b = torch.rand(2, 1, 3, 32, 32).unbind()
    assert torch.equal(found(a, b), metric(a, b))
    save_file({"alpha": torch.zeros(sum(CHANNELS))}, path)
    with pytest.raises(IntegrityError, match="does not hold the weights of DISTS"):
        build_dists(path)


def test_genuine_weights_give_the_known_value_on_the_authors_example() -> None:
    folder = Path(WEIGHTS)
    if not WEIGHTS or not (folder / "r0.png").is_file():
        pytest.skip("LSR_TEST_DISTS names no folder with dists.safetensors and the authors' r0.png and r1.png")
    a, b = (np.array(Image.open(folder / f"{name}.png").convert("RGB")) for name in ("r0", "r1"))
    x, y = (torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255 for pixels in (a, b))
    assert build_dists(folder / "dists.safetensors")(x, y).item() == pytest.approx(0.334674, abs=2e-6)
