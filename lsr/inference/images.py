"""Pictures between files, uint8 arrays [H, W, 3] and tensors [1, 3, H, W] in [-1, 1]. May import Pillow, torch."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from lsr.core.errors import InputError, StoreError

Picture = NDArray[np.uint8]
MAX_PIXELS = 120_000_000


def check_picture(image: Picture) -> None:
    """Raise InputError unless `image` is uint8 [H, W, 3] with at least one pixel."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"A picture must be RGB, uint8 [height, width, 3] with at least one pixel, found {image.dtype} "
            f"{list(image.shape)}; convert it first."
        )


def to_tensor(image: Picture) -> Tensor:
    """uint8 [H, W, 3] -> float32 [1, 3, H, W] in [-1, 1]."""
    check_picture(image)
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def to_picture(x: Tensor) -> Picture:
    """[1, 3, H, W], clamped to [-1, 1] -> uint8 [H, W, 3]."""
    rounded = ((x[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return np.asarray(rounded.permute(1, 2, 0).cpu().numpy())


def load_image(path: Path) -> Picture:
    """A picture file as upright RGB uint8 [H, W, 3]. Raises InputError when it is not one or is too large."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise InputError(f"{path} has {image.width}x{image.height} pixels; the limit is {MAX_PIXELS}.")
                return np.asarray((ImageOps.exif_transpose(image) or image).convert("RGB"))
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(f"{path} announces too many pixels; the limit is {MAX_PIXELS}.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path} cannot be read as a picture: {error}.") from error


def to_png(image: Picture) -> bytes:
    """The picture as PNG bytes."""
    check_picture(image)
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()


def save_image(image: Picture, path: Path) -> None:
    """Write a picture in the format of the path's suffix. Raises InputError for an unknown one, StoreError when the
    place cannot be written.
    """
    check_picture(image)
    if path.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"{path} needs the suffix of a picture format (.png, .jpg, .webp), found {path.suffix!r}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
