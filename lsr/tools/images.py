"""Single images through a registered version: upscaled from a file, or generated from noise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.core.settings import Settings
from lsr.stages.infer import load_version
from lsr.store import open_store

if TYPE_CHECKING:
    from lsr.diffusion.config import SamplerConfig
    from lsr.models.system import LatentSystem
    from lsr.registry.versions import Version


def _system_named(settings: Settings, model: str) -> tuple[LatentSystem, Version]:
    from lsr.registry.aliases import resolve_for_inference

    version = resolve_for_inference(open_store(settings.store), settings.mlflow, settings.prefix + model)
    return load_version(settings.mlflow, version, str(settings.cache / "versions")), version


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
    """Upscale one picture file; what was done, as plain data."""
    from lsr.inference.images import load_image, save_image
    from lsr.inference.upscale import target_size, upscale

    pixels = load_image(image)
    target_size((pixels.shape[0], pixels.shape[1]), scale=scale, target=size)
    system, version = _system_named(settings, model)
    result = upscale(system, pixels, scale=scale, size=size, sampler=sampler)
    save_image(result, output)
    return {
        "input": f"{pixels.shape[1]}x{pixels.shape[0]}",
        "output": f"{result.shape[1]}x{result.shape[0]}",
        "path": str(output),
        "model": str(version),
        "digest": version.digest,
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
    """Generate `count` pictures of `size` (height, width) into `folder`."""
    from lsr.inference.generate import generate
    from lsr.inference.images import save_image

    system, _ = _system_named(settings, model)
    pictures = generate(system, size=size, count=count, sampler=sampler)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{sampler.seed:06d}-{number:04d}.png" for number in range(count)]
    for path, picture in zip(paths, pictures):
        save_image(picture, path)
    return paths
