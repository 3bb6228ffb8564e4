"""Single images through a registered version: upscaled from a file, or generated from noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lsr.core.settings import Settings
from lsr.inference.request import Size, Target
from lsr.registry.load import load_named


def upscale_file(
    settings: Settings, model: str, image: Path, output: Path, target: Target, how: Mapping[str, Any]
) -> dict[str, Any]:
    """Upscale one image file; what was done, as plain data. how: fields of the sampler, else the version's own."""
    from lsr.core.encoding import container_of
    from lsr.inference.images import read_image, save_image

    read = read_image(image)
    pixels = read.rgb
    # Before the model is loaded: an output that cannot be written is not begun.
    container_of(output, target.of((pixels.shape[0], pixels.shape[1])))
    executor, version = load_named(settings, model)
    result = executor.upscale(pixels, target, replace(executor.sampler, **how))
    save_image(result, output)
    return {
        "input": f"{pixels.shape[1]}x{pixels.shape[0]}",
        "output": f"{result.shape[1]}x{result.shape[0]}",
        "path": str(output),
        "model": str(version),
        "digest": version.digest,
        "converted": list(read.changes),
    }


def generate_files(
    settings: Settings, model: str, folder: Path, size: Size, count: int, how: Mapping[str, Any]
) -> list[Path]:
    """Generate `count` images of `size` (height, width) into `folder`. how: as `upscale_file`."""
    from lsr.inference.images import save_image

    executor, _ = load_named(settings, model)
    sampler = replace(executor.sampler, **how)
    images = executor.generate(size, count, sampler)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{sampler.seed:06d}-{number:04d}.png" for number in range(count)]
    for path, image in zip(paths, images, strict=True):
        save_image(image, path)
    return paths
