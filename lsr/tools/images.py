"""Single images through a registered version: upscaled from a file, or generated from noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.core.settings import Settings
from lsr.tools.loading import load

if TYPE_CHECKING:
    from lsr.diffusion.config import SamplerConfig


def upscale_file(
    settings: Settings,
    model: str,
    image: Path,
    output: Path,
    *,
    scale: float | None,
    size: tuple[int, int] | None,
    sampler: SamplerConfig,
) -> dict[str, Any]:
    """Upscale one image file; what was done, as plain data."""
    from lsr.core.encoding import container_of
    from lsr.inference.images import read_image, save_image
    from lsr.inference.upscale import target_size

    read = read_image(image)
    pixels = read.rgb
    # Before the model is loaded: an output that cannot be written is not computed.
    container_of(output, target_size((pixels.shape[0], pixels.shape[1]), scale=scale, target=size))
    loaded = load(model, settings=settings)
    result = loaded.upscale(pixels, scale=scale, size=size, sampler=sampler)
    save_image(result, output)
    return {
        "input": f"{pixels.shape[1]}x{pixels.shape[0]}",
        "output": f"{result.shape[1]}x{result.shape[0]}",
        "path": str(output),
        "model": loaded.name,
        "digest": loaded.digest,
        "converted": list(read.changes),
    }


def generate_files(
    settings: Settings,
    model: str,
    folder: Path,
    *,
    size: tuple[int, int],
    count: int,
    sampler: SamplerConfig,
) -> list[Path]:
    """Generate `count` images of `size` (height, width) into `folder`."""
    from lsr.inference.images import save_image

    images = load(model, settings=settings).generate(size, count, sampler=sampler)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{sampler.seed:06d}-{number:04d}.png" for number in range(count)]
    for path, image in zip(paths, images):
        save_image(image, path)
    return paths
