"""Whole photos that no model was trained on, by models that are asked as users ask them.

    python -m benchmarks.whole_photos FOLDER OUT [--model photo --fidelity 1 --fidelity 0.5] [--scales 2 4 8]

FOLDER holds the photos: only the caller knows that none was trained on. Each is cropped to a multiple of the scale and
reduced by Pillow's antialiased bicubic to 8 bits. Measured of the whole photo: PSNR of Y (BT.601, a border of `scale`
pixels left out), LPIPS of VGG16 on the central square of at most 256 pixels, seconds per photo on one thread. OUT.json
has every photo; OUT.png shows, of three photos at each scale, the flattest and the most detailed square.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Pillow

import lsr
from benchmarks.surroundings import code, machine
from lsr.core.encoding import png
from lsr.core.settings import load_settings
from lsr.diffusion.config import SamplerConfig
from lsr.evaluation.images import as_batch, resize
from lsr.inference.baselines import Comparator, answer
from lsr.metrics.lpips import find_lpips
from lsr.models.baselines.build import load
from lsr.models.baselines.config import EsrganConfig

Image = NDArray[np.uint8]
Upscaler = Callable[[Image, tuple[int, int]], Image]
SQUARE, SHOWN, LPIPS_SIDE = 160, 3, 256


def luma(image: Image) -> NDArray[np.float64]:
    """Y of BT.601 in [16, 235], float64."""
    weights: NDArray[np.float64] = np.array([65.481, 128.553, 24.966]) / 255
    y: NDArray[np.float64] = image.astype(np.float64) @ weights + 16
    return y


def psnr_y(image: Image, truth: Image, border: int) -> float:
    """PSNR of Y in dB, `border` pixels left out on every side."""
    error = (luma(image) - luma(truth))[border:-border, border:-border]
    return float(10 * np.log10(255**2 / np.mean(error**2)))


def pair(path: Path, scale: int) -> tuple[Image, Image]:
    """(LR, truth) of a photo."""
    with Pillow.open(path) as opened:
        whole = opened.convert("RGB")
    whole = whole.crop((0, 0, whole.width // scale * scale, whole.height // scale * scale))
    truth = np.asarray(whole)
    return resize(truth, (whole.height // scale, whole.width // scale)), truth


def systems(models: Sequence[str], fidelities: Sequence[float], cache: Path) -> Iterator[tuple[str, Upscaler]]:
    """Bicubic, RealESRGAN where its weights are here, and every model at every fidelity."""
    yield "bicubic", resize
    weights = cache / "sets" / "realesrgan" / "realesrgan-x4plus.safetensors"
    if weights.is_file():
        comparator = Comparator(load(EsrganConfig(), weights.read_bytes(), "RealESRGAN"), EsrganConfig())
        yield "RealESRGAN x4plus", lambda lr, size: answer(comparator, lr, [size], SamplerConfig())[0]
    for name in models:
        model = lsr.load(name)
        for fidelity in fidelities:
            sampler = replace(model.executor.sampler, fidelity=fidelity)

            def upscale(
                lr: Image, size: tuple[int, int], model: object = model, sampler: SamplerConfig = sampler
            ) -> Image:
                return model.upscale(lr, size=size, sampler=sampler)  # type: ignore[attr-defined,no-any-return]

            yield f"{name} f={fidelity:g}", upscale


def corners(truth: Image, scale: int) -> list[tuple[int, int]]:
    """(row, column) of the flattest and of the most detailed square of a photo."""
    y, side = luma(truth), min(SQUARE, *truth.shape[:2])
    found = [
        (float(y[row : row + side, column : column + side].std()), row, column)
        for row in range(0, truth.shape[0] - side + 1, side // 2)
        for column in range(0, truth.shape[1] - side + 1, side // 2)
    ]
    return [min(found)[1:], max(found)[1:]]


def measure(
    photos: Sequence[Path], scales: Sequence[int], asked: Sequence[tuple[str, Upscaler]], cache: Path
) -> tuple[list[dict[str, object]], list[Image]]:
    """A row per scale, photo and system; lines of the sheet."""
    lpips = find_lpips(cache, "vgg")
    rows: list[dict[str, object]] = []
    lines: list[Image] = []
    for scale in scales:
        for number, path in enumerate(photos):
            lr, truth = pair(path, scale)
            outputs: dict[str, Image] = {}
            for name, upscale in asked:
                began = time.perf_counter()
                outputs[name] = upscale(lr, (truth.shape[0], truth.shape[1]))
                seconds = time.perf_counter() - began
                row = {"scale": scale, "photo": path.stem, "system": name, "seconds": round(seconds, 3)}
                row["psnr_y"] = round(psnr_y(outputs[name], truth, scale), 4)
                if lpips is not None:
                    with torch.no_grad():
                        row["lpips"] = round(float(lpips(*(as_batch(middle(i)) for i in (outputs[name], truth)))), 5)
                rows.append(row)
            if number < SHOWN:
                lines += [line([*outputs.values(), truth], corner) for corner in corners(truth, scale)]
    return rows, lines


def middle(image: Image) -> Image:
    """The central square of at most LPIPS_SIDE pixels."""
    top, left = (max(0, side - LPIPS_SIDE) // 2 for side in image.shape[:2])
    return np.ascontiguousarray(image[top : top + LPIPS_SIDE, left : left + LPIPS_SIDE])


def line(images: Sequence[Image], corner: tuple[int, int]) -> Image:
    """The same square of every image, side by side."""
    row, column = corner
    squares = [image[row : row + SQUARE, column : column + SQUARE] for image in images]
    padded = [np.pad(s, ((0, SQUARE - s.shape[0]), (0, SQUARE - s.shape[1] + 4), (0, 0))) for s in squares]
    return np.concatenate(padded, axis=1)


def table(rows: Sequence[dict[str, object]]) -> str:
    """Means over photos, as markdown."""
    names = list(dict.fromkeys(str(row["system"]) for row in rows))
    lines = ["| scale | system | PSNR-Y | LPIPS-vgg | s per photo |", "|---|---|---|---|---|"]
    for scale in dict.fromkeys(row["scale"] for row in rows):
        for name in names:
            mine = [row for row in rows if row["scale"] == scale and row["system"] == name]
            means = [
                np.mean([float(str(row.get(key, "nan"))) for row in mine]) for key in ("psnr_y", "lpips", "seconds")
            ]
            lines.append(f"| {scale} | {name} | {means[0]:.2f} | {means[1]:.3f} | {means[2]:.2f} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--fidelity", type=float, action="append", default=[])
    parser.add_argument("--scales", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--limit", type=int, default=None, help="at most so many photos")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cache = load_settings().cache
    photos = sorted(p for p in asked.folder.iterdir() if p.suffix.lower() in (".jpg", ".png"))[: asked.limit]
    chosen = list(systems(asked.model or ["photo"], asked.fidelity or [1.0], cache))
    rows, lines = measure(photos, asked.scales, chosen, cache)
    facts = {"machine": asdict(machine()), "code": asdict(code()), "photos": [p.name for p in photos], "rows": rows}
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    asked.out.with_suffix(".png").write_bytes(png(np.concatenate(lines, axis=0)))
    print(table(rows))


if __name__ == "__main__":
    main()
