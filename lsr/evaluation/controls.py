"""Systems that must lose: they prove that the protocol and the gate can tell good from bad."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lsr.core.errors import InputError
from lsr.core.randomness import derive_seed
from lsr.evaluation.images import AnyImage, Image, Size, Upscaler, rounded


def remembered(upscaler: Upscaler) -> Upscaler:
    """The same system, which answers a question asked twice in a row from memory: for a model that is measured
    beside its own degraded copy and should sample once.
    """
    last: list[tuple[object, Sequence[AnyImage]]] = []

    def answer(lr: Image, sizes: Sequence[Size]) -> Sequence[AnyImage]:
        question = (lr.shape, lr.tobytes(), tuple(sizes))
        if not last or last[0][0] != question:
            last[:] = [(question, upscaler(lr, sizes))]
        return last[0][1]

    return answer


def corrupt(images: Sequence[Image], *, seed: int, brightness: float = 0.6, noise: float = 0.08) -> list[Image]:
    """The images at `brightness`, with Gaussian noise (std in [0, 1] grey levels), drawn anew for each of them.

    Darkening breaks agreement with the truth, with LR and with real tiles; the noise breaks texture and consistency
    between sizes: a gate that guards any one of them must reject these images (the preflight).
    """
    out = []
    for index, image in enumerate(images):
        rng = np.random.Generator(np.random.Philox(derive_seed(seed, "corrupt", index)))
        shaken = image * brightness + 255 * noise * rng.standard_normal(image.shape)
        out.append(np.clip(np.rint(shaken), 0, 255).astype(np.uint8))
    return out


def degraded(upscaler: Upscaler, *, seed: int = 0) -> Upscaler:
    """A deliberately worse copy of an upscaler: its images, corrupted."""

    def worse(lr: Image, sizes: Sequence[Size]) -> list[Image]:
        return corrupt(
            [rounded(image) for image in upscaler(lr, sizes)], seed=derive_seed(seed, "degraded", int(lr.sum()))
        )

    return worse


def shuffled(upscaler: Upscaler, lrs: Sequence[Image]) -> Upscaler:
    """The negative control of conditioning: each LR image is answered with another one's output.

    lrs: every LR image that will be asked, at least two. A model that ignores its condition scores as well
    shuffled as straight.
    """
    if len(lrs) < 2:
        raise InputError(f"Shuffling conditions needs at least 2 LR images, found {len(lrs)}.")
    order = {lr.tobytes(): index for index, lr in enumerate(lrs)}

    def other(lr: Image, sizes: Sequence[Size]) -> Sequence[AnyImage]:
        if lr.tobytes() not in order:
            raise InputError("This LR image was not among those given to the shuffled control; give it all of them.")
        return upscaler(lrs[(order[lr.tobytes()] + 1) % len(lrs)], sizes)

    return other
