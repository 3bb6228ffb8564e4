"""Named, versioned protocols: what is asked of a system, as data, and how a photo becomes questions.

Published tables differ in every one of these points, and none of their numbers may stand beside numbers of another
protocol. A protocol whose rules change gets a new version; rows keep the version they were measured under.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from lsr.evaluation.config import EvaluateConfig, ProtocolName
from lsr.evaluation.images import AnyImage, Image, resize
from lsr.evaluation.regions import choose_regions

SSIM_SIDE = 11
"""The smallest image that any metric but PSNR can measure."""

Truths = dict[float, Image]
Question = tuple[int, Image, Truths]
"""Number of the crop, LR, truth by scale."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Protocol:
    """region: what of a photo is measured: `detailed` squares, the `centre` square, or the `whole` of it.
    lr: one LR image `shared` by all scales, or made `per-scale` from that scale's truth. lr_side: whether the LR has
    the config's lr_side (else it is the photo divided by the scale). rounding: outputs are 8-bit images.
    border: pixels ignored on every side by every metric. pooled: images whose squared errors are averaged
    before the logarithm, 0 for none. photos: how many the published tables used.
    """

    name: ProtocolName
    version: int
    region: Literal["detailed", "centre", "whole"]
    lr: Literal["shared", "per-scale"]
    rounding: bool
    border: Literal["none", "scale+6"] = "none"
    pooled: int = 0
    photos: int | None = None
    colour: str = "RGB"
    resize: str = "Pillow bicubic, antialiased when reducing, 8-bit RGB"

    def margin(self, scale: float) -> int:
        """Pixels that are ignored on every side at `scale`."""
        return 0 if self.border == "none" else math.ceil(scale) + 6

    def shave(self, image: AnyImage, scale: float) -> AnyImage:
        """The image without its margin."""
        edge = self.margin(scale)
        return image[edge : image.shape[0] - edge, edge : image.shape[1] - edge]


PROTOCOLS: Mapping[ProtocolName, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(name="per-image", version=1, region="detailed", lr="shared", rounding=True),
        Protocol(name="seed-a", version=1, region="centre", lr="per-scale", rounding=False, pooled=8, photos=100),
        Protocol(name="liif-full", version=1, region="whole", lr="per-scale", rounding=False, border="scale+6"),
    )
}


def protocol_of(config: EvaluateConfig) -> Protocol:
    """The protocol that the config names."""
    return PROTOCOLS[config.protocol]


def questions(key: str, photo: Image, config: EvaluateConfig, notes: list[str]) -> Iterator[Question]:
    """What is asked of one photo, once a scale where each has its LR; what cannot be asked is noted."""
    region = protocol_of(config).region
    if region == "detailed":
        yield from _detailed(key, photo, config, notes)
    elif region == "centre":
        yield from _centre(key, photo, config, notes)
    else:
        yield from _whole(key, photo, config, notes)


def _detailed(key: str, photo: Image, config: EvaluateConfig, notes: list[str]) -> Iterator[Question]:
    wanted = round(config.lr_side * max(config.scales))
    for number, region in enumerate(choose_regions(photo, crops=config.crops, side=wanted)):
        if region.side < config.lr_side:
            notes.append(f"{key}: its short side {region.side} is below lr_side {config.lr_side}; skipped.")
            continue
        pixels = region.cut(photo)
        sides = {s: round(config.lr_side * s) for s in config.scales}
        real = {s: side for s, side in sides.items() if side <= region.side}
        if len(real) < len(sides):
            lost = ", ".join(f"{s:g}" for s in sides if s not in real)
            notes.append(f"{key}: its largest square has side {region.side}, too small for a true image at x{lost}.")
        if real:
            lr = resize(pixels, (config.lr_side, config.lr_side))
            yield number, lr, {s: resize(pixels, (side, side)) for s, side in real.items()}


def _centre(key: str, photo: Image, config: EvaluateConfig, notes: list[str]) -> Iterator[Question]:
    """System A's eval_sr.py: the centre square resized to the output side, and LR made from that."""
    short = min(photo.shape[:2])
    top, left = (photo.shape[0] - short) // 2, (photo.shape[1] - short) // 2
    square = photo[top : top + short, left : left + short]
    for scale in config.scales:
        side = round(config.lr_side * scale)
        if side > short:
            notes.append(f"{key}: its centre square has side {short}, too small for a true image at x{scale:g}.")
            continue
        truth = resize(square, (side, side))
        yield 0, resize(truth, (config.lr_side, config.lr_side)), {scale: truth}


def _whole(key: str, photo: Image, config: EvaluateConfig, notes: list[str]) -> Iterator[Question]:
    """LIIF's whole images: cut to a size that the scale divides as nearly as it can, LR by reducing that."""
    margin = protocol_of(config).margin
    for scale in config.scales:
        height, width = (math.floor(side / scale + 1e-9) for side in photo.shape[:2])
        truth = photo[: round(height * scale), : round(width * scale)]
        if min(height, width) < 1 or min(truth.shape[:2]) - 2 * margin(scale) < SSIM_SIDE:
            notes.append(f"{key}: {photo.shape[1]} x {photo.shape[0]} pixels are too few at x{scale:g}; skipped.")
            continue
        yield 0, resize(truth, (height, width)), {scale: truth}
