"""The protocol `samples`: generation measured without a truth.

Three questions, each one number a sample, so that the same paired bootstrap and gate apply, and two that are asked for:

* `self_ssim`: is one latent the same image at every output size? SSIM of the output, resized (Pillow bicubic) to
  the reference size, with the output at that size; latent and sampler noise are fixed (method.md gotcha 19).
  Asymmetric like `scale_ssim` and None at the reference size.
* `tile_distance`: do its colours, contrast and texture energies resemble a real tile's? Mahalanobis distance of
  eleven plain statistics from their distribution over real tiles, divided by sqrt(11), so that real tiles lie near 1
  and decoded noise far above. It rejects noise and flat images; it does not know what a face is.
* with `matrix`, `ssim_at_HxW` of each size against each (images.size_matrix): the whole of the published table.
* with extractors, KID, FD, precision and recall of the samples against the real tiles, resized to each size.
* `diversity`: mean RMS distance of a sample from the others, divided by that among real tiles; 0 when all samples
  are one image, near 1 when they vary as real tiles do.

FID needs its Inception weights and 50,000 samples and is not computed; lsr.metrics.distribution has distances that
name their extractor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image as Pillow

from lsr.core.errors import InputError
from lsr.evaluation.images import Image, resize, similarity, size_matrix
from lsr.evaluation.pooled import REAL, set_distances
from lsr.evaluation.rows import Aggregate, Evaluation, Row
from lsr.metrics.extractors import Extractor, extract

Floats = npt.NDArray[np.float64]
PROTOCOL = "samples"
SIDE = 32
"""Side in pixels at which statistics and distances between images are taken."""

MOST_TILES = 256
"""Real tiles used, spread evenly over those given; pairs grow with the square."""


def statistics(image: Image) -> Floats:
    """Eleven plain statistics of an image [H, W, 3] uint8 box-resized to SIDE: mean and standard deviation of each
    colour, standard deviations of red-green and yellow-blue, log energies of three octaves of grey detail.
    """
    small = _small(image)
    grey = small.mean(axis=2)
    opponents = [(small[..., 0] - small[..., 1]).std(), (small[..., :2].mean(axis=2) - small[..., 2]).std()]
    energies = []
    for _ in range(3):
        coarse = grey.reshape(grey.shape[0] // 2, 2, grey.shape[1] // 2, 2).mean(axis=(1, 3))
        detail = grey - coarse.repeat(2, axis=0).repeat(2, axis=1)
        energies.append(np.log(detail.std() + 1e-3))
        grey = coarse
    return np.concatenate([small.mean(axis=(0, 1)), small.std(axis=(0, 1)), opponents, energies])


def _small(image: Image) -> Floats:
    return np.asarray(Pillow.fromarray(image).resize((SIDE, SIDE), Pillow.Resampling.BOX), dtype=np.float64) / 255


class TileDistance:
    """Distance of an image's statistics from those of real tiles; called with statistics [n, 11], gives [n]."""

    def __init__(self, tiles: Sequence[Image]) -> None:
        features = np.stack([statistics(tile) for tile in tiles])
        self._mean = features.mean(axis=0)
        centred = features - self._mean
        covariance = centred.T @ centred / len(tiles)
        # Shrunk towards its diagonal, so that a few dozen tiles give an invertible, not over-confident matrix.
        diagonal = np.diag(np.diag(covariance)) + 1e-6 * np.eye(len(covariance))
        self._inverse = np.linalg.inv(0.8 * covariance + 0.2 * diagonal)

    def __call__(self, features: Floats) -> Floats:
        centred = features - self._mean
        squared = np.einsum("ni,ij,nj->n", centred, self._inverse, centred)
        return np.asarray(np.sqrt(squared / features.shape[1]), dtype=np.float64)


def spread(images: Sequence[Image]) -> Floats:
    """For each image its mean RMS distance from the others at SIDE pixels, [n], grey levels in [0, 1]; n >= 2."""
    flat = np.stack([_small(image).ravel() for image in images])
    squares = (flat**2).sum(axis=1)
    between = np.maximum(squares[:, None] + squares[None, :] - 2 * flat @ flat.T, 0) / flat.shape[1]
    np.fill_diagonal(between, 0)
    return np.asarray(np.sqrt(between).sum(axis=1) / (len(images) - 1), dtype=np.float64)


Samples = Sequence[Sequence[Image]]
"""For each latent its images at the same sizes, square, uint8."""


def evaluate_samples(
    samples: Samples,
    tiles: Sequence[Image],
    controls: Mapping[str, Samples] | None = None,
    *,
    extractors: Mapping[str, Extractor] | None = None,
    matrix: bool = False,
) -> Evaluation:
    """Rows of system `ours` for every sample and size, and of system `tiles` for real tiles kept out of the fit.

    tiles: real ones, at least 16. controls: further systems by name, such as a degraded copy of the samples.
    extractors: by name, for distances between sets. matrix: whether rows compare every size with every size. Rows
    carry scale = side / reference side; the reference is the size nearest to the tiles'. Raises InputError for too
    few tiles, no samples or unequal sizes.
    """
    sides = _sides(samples, tiles)
    reference = min(sides, key=lambda side: (abs(side - tiles[0].shape[0]), side))
    step = max(len(tiles) // MOST_TILES, 1)
    fit, kept = tiles[::step][0::2], tiles[::step][1::2]
    distance, real_spread = TileDistance(fit), float(spread(fit).mean())
    rows = []
    everyone = {"ours": samples, **(controls or {})}
    for name, drawn in everyone.items():
        if _sides(drawn, tiles) != sides:
            raise InputError(f"Control {name} was drawn at other sizes than the samples; draw it at {sides}.")
        rows += _sample_rows(name, drawn, reference, distance, real_spread, matrix)
    rows += _real_rows(kept, distance, real_spread)
    facts = {"reference_side": reference, "tiles": len(tiles), "fid": None, "statistics_side": SIDE}
    aggregates = tuple(_aggregates(everyone, tiles[::step], reference, extractors or {}))
    return Evaluation(protocol=PROTOCOL, facts=facts, rows=tuple(rows), aggregates=aggregates)


def _aggregates(
    everyone: Mapping[str, Samples], tiles: Sequence[Image], reference: int, extractors: Mapping[str, Extractor]
) -> Iterator[Aggregate]:
    """Distances of each system's samples from the real tiles, which are resized to each size like the samples."""
    groups = [f"tile-{index:05d}" for index in range(len(tiles))]
    sides = [image.shape[0] for image in next(iter(everyone.values()))[0]]
    for column, side in enumerate(sides):
        for extractor, network in extractors.items():
            real = extract(network, [resize(tile, (side, side)) for tile in tiles])
            made = {name: extract(network, [sample[column] for sample in drawn]) for name, drawn in everyone.items()}
            for system, metric, value in set_distances(real, groups, made, extractor):
                count = len(tiles) if system == REAL else len(everyone[system])
                yield Aggregate(scale=side / reference, system=system, metric=metric, value=value, photos=count)


def _sample_rows(
    system: str, samples: Samples, reference: int, distance: TileDistance, real_spread: float, matrix: bool
) -> list[Row]:
    sides = [image.shape[0] for image in samples[0]]
    by_size = [size_matrix(sample) for sample in samples] if matrix else []
    rows = []
    for column, side in enumerate(sides):
        images = [sample[column] for sample in samples]
        distances = distance(np.stack([statistics(image) for image in images]))
        spreads = spread(images) / real_spread if len(images) > 1 and real_spread > 0 else None
        for index, sample in enumerate(samples):
            values: dict[str, float | None] = {
                "self_ssim": _self_ssim(sample[column], sample[sides.index(reference)]),
                "tile_distance": float(distances[index]),
                "diversity": None if spreads is None else float(spreads[index]),
                **(by_size[index][column] if matrix else {}),
            }
            rows.append(Row(photo=f"sample-{index:05d}", crop=0, scale=side / reference, system=system, values=values))
    return rows


def _sides(samples: Samples, tiles: Sequence[Image]) -> list[int]:
    if len(tiles) < 16:
        raise InputError(f"Generation is measured against at least 16 real tiles, found {len(tiles)}; tile more.")
    sides = [image.shape[0] for image in samples[0]] if samples else []
    if not sides or any([image.shape for image in s] != [(side, side, 3) for side in sides] for s in samples):
        raise InputError("Generation needs samples, each as square RGB images at the same sizes; draw them again.")
    return sides


def _self_ssim(image: Image, reference: Image) -> float | None:
    if image.shape == reference.shape:
        return None
    return similarity(resize(image, (reference.shape[0], reference.shape[1])), reference)


def _real_rows(tiles: Sequence[Image], distance: TileDistance, real_spread: float) -> list[Row]:
    distances = distance(np.stack([statistics(tile) for tile in tiles]))
    spreads = spread(tiles) / real_spread if real_spread > 0 else np.zeros(len(tiles))
    return [
        Row(
            photo=f"tile-{index:05d}",
            crop=0,
            scale=1.0,
            system="tiles",
            values={"self_ssim": None, "tile_distance": float(d), "diversity": float(s)},
        )
        for index, (d, s) in enumerate(zip(distances, spreads))
    ]
