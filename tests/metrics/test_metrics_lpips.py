"""LPIPS: the architecture against a second, slower spelling of it, and the genuine weights against known values.

The genuine weights are not in the repository. Set LSR_TEST_LPIPS to the folder that `lsr data get lpips` made to run
the tests that need them; put the authors' example images (ex_ref.png, ex_p0.png, ex_p1.png) beside the weights to
check their numbers too. `make test-slow` fetches the weights by itself (tests/sets).
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
from lsr.metrics import Lpips, build_lpips, find_lpips

WEIGHTS = os.environ.get("LSR_TEST_LPIPS", "")
REFERENCE = {("alex", "ex_p0"): 0.721881, ("alex", "ex_p1"): 0.137566}
REFERENCE |= {("vgg", "ex_p0"): 0.568613, ("vgg", "ex_p1"): 0.421664}


def random_lpips(net: str) -> Lpips:
    torch.manual_seed(0)
    metric = Lpips(net)
    for name, parameter in metric.named_parameters():
        std = parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        with torch.no_grad():
            parameter.normal_(0, 1.4 * std)
            if name.startswith("lin"):
                parameter.abs_()
    return metric


def slow_alex(m: Lpips, image: torch.Tensor) -> list[torch.Tensor]:
    w = [(conv.weight.double(), conv.bias.double()) for conv in m.conv]
    x1 = F.relu(F.conv2d(image, *w[0], stride=4, padding=2))
    x2 = F.relu(F.conv2d(F.max_pool2d(x1, 3, 2), *w[1], padding=2))
    x3 = F.relu(F.conv2d(F.max_pool2d(x2, 3, 2), *w[2], padding=1))
    x4 = F.relu(F.conv2d(x3, *w[3], padding=1))
    return [x1, x2, x3, x4, F.relu(F.conv2d(x4, *w[4], padding=1))]


def slow_vgg(m: Lpips, image: torch.Tensor) -> list[torch.Tensor]:
    x, taps = image, []
    for i, conv in enumerate(m.conv):
        if i in (2, 4, 7, 10):
            taps.append(x)
            x = F.max_pool2d(x, 2, 2)
        x = F.relu(F.conv2d(x, conv.weight.double(), conv.bias.double(), padding=1))
    return [*taps, x]


SLOW = {"alex": slow_alex, "vgg": slow_vgg}


def slow_lpips(m: Lpips, a: torch.Tensor, b: torch.Tensor) -> float:
    """Equation 1 of the paper, spelled out for one image in float64."""
    shift = torch.tensor([-0.030, -0.088, -0.188], dtype=torch.float64).view(3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450], dtype=torch.float64).view(3, 1, 1)
    maps = [SLOW[m.net](m, ((x.double() * 2 - 1) - shift) / scale) for x in (a, b)]
    total = 0.0
    for x, y, head in zip(*maps, m.lin):
        x, y = (v / (torch.linalg.vector_norm(v, dim=0, keepdim=True) + 1e-10) for v in (x, y))
        total += float(((x - y) ** 2 * head.weight.double().view(-1, 1, 1)).sum(0).mean())
    return total


@pytest.mark.parametrize("net", ["alex", "vgg"])
def test_both_networks_compute_the_papers_equation(net: str) -> None:
    metric = random_lpips(net)
    a, b = torch.rand(2, 2, 3, 40, 33).unbind()
    expected = [slow_lpips(metric, x, y) for x, y in zip(a, b)]
    np.testing.assert_allclose(metric(a, b).numpy(), expected, rtol=2e-5)


def test_equal_images_have_distance_zero_and_order_does_not_matter() -> None:
    metric = random_lpips("alex")
    a, b = torch.rand(2, 2, 3, 32, 32).unbind()
    assert metric(a, a).tolist() == [0, 0]
    torch.testing.assert_close(metric(a, b), metric(b, a))


def test_gradients_reach_the_images_only_and_stay_finite_where_features_are_dead() -> None:
    metric = random_lpips("alex")
    with torch.no_grad():
        metric.conv[2].bias.fill_(-1e3)
    a = torch.rand(1, 3, 32, 32, requires_grad=True)
    metric(a, torch.rand(1, 3, 32, 32)).sum().backward()
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()
    assert a.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in metric.parameters())


def test_images_below_32_pixels_are_rejected() -> None:
    small = torch.zeros(1, 3, 64, 31)
    with pytest.raises(InputError, match="LPIPS-alex needs images of at least 32 x 32 pixels, found 64 x 31"):
        Lpips("alex")(small, small)
    smallest = torch.rand(1, 3, 32, 32)
    assert random_lpips("alex")(smallest, smallest.flip(-1)).isfinite().all()


def save(metric: Lpips, path: Path, net: str | None = None) -> None:
    save_file(metric.state_dict(), path, {"net": net or metric.net})


def test_weights_travel_through_safetensors_and_are_found_in_the_cache(tmp_path: Path) -> None:
    assert find_lpips(tmp_path) is None
    metric, folder = random_lpips("alex"), tmp_path / "sets" / "lpips"
    folder.mkdir(parents=True)
    save(metric, folder / "lpips-alex.safetensors")
    found = find_lpips(tmp_path)
    assert found is not None
    a, b = torch.rand(2, 1, 3, 32, 32).unbind()
    assert torch.equal(found(a, b), metric(a, b))
    assert find_lpips(tmp_path, "vgg") is None


def test_files_that_are_not_these_weights_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "lpips-alex.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(IntegrityError, match="cannot be read as safetensors"):
        build_lpips(path)
    save(random_lpips("alex"), path, net="vgg")
    with pytest.raises(IntegrityError, match="does not hold the weights of LPIPS-vgg"):
        build_lpips(path)
    save_file({}, path, {"net": "squeeze"})
    with pytest.raises(IntegrityError, match="must say net alex or vgg"):
        build_lpips(path)


def load(path: Path) -> torch.Tensor:
    pixels = np.array(Image.open(path).convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize(("net", "name"), REFERENCE)
def test_genuine_weights_give_the_known_values_on_the_authors_examples(net: str, name: str) -> None:
    folder = Path(WEIGHTS)
    if not WEIGHTS or not (folder / f"{name}.png").is_file():
        pytest.skip("LSR_TEST_LPIPS names no folder with lpips-*.safetensors and the authors' ex_*.png")
    metric = build_lpips(folder / f"lpips-{net}.safetensors")
    value = metric(load(folder / f"{name}.png"), load(folder / "ex_ref.png")).item()
    assert value == pytest.approx(REFERENCE[net, name], abs=2e-6)
