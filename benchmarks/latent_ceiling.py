"""Where a study's latent systems lose: what the decoder makes of the truth's own latent, of the LR image's, and of
the sampled one, at the scale that the latents were made for.

PSNR of the kept photos at x4. "Truth" is a ceiling: a perfect denoiser reaches it. Where it is
no higher than "LR", the latents say nothing that the LR image does not, and no denoiser can help. "Distance" is the
mean squared distance of both latents, whitened. Reads what `lsr study` has on record in LSR_HOME; makes nothing.

    python -m benchmarks.latent_ceiling [--study study-2core] [--out FILE.json]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.here import Here, here
from benchmarks.surroundings import code
from lsr.core.pixels import decode_rgb
from lsr.core.progress import Quiet
from lsr.core.settings import load_settings
from lsr.engine.launch import launch
from lsr.metrics.fidelity import psnr
from lsr.models.system import LatentSystem
from lsr.nn.units import from_levels
from lsr.recipes.study import StudyConfig, load_study
from lsr.stages.measure import Measured, read_measured, system_of
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.study.systems import UNALIGNED, Trained, data_of, measure_request, questions, systems

Figures = dict[str, float]


@torch.no_grad()
def figures(system: LatentSystem, lr: Tensor, truth: Tensor) -> Figures:
    """PSNR of the decoder given the latent of `truth` [1, 3, s h, s w] and that of `lr` [1, 3, h, w], both in [-1, 1]
    with s the system's base scale; the mean squared distance of the two.
    """
    size = (truth.shape[-2], truth.shape[-1])
    best, known = system.whiten(system.encoder(truth).mode()), system.condition(lr)
    return {
        "truth": _psnr(system.decode(best, size, lr=lr), truth),
        "lr": _psnr(system.decode(known, size, lr=lr), truth),
        "distance": float((best - known).square().mean()),
    }


def _psnr(a: Tensor, b: Tensor) -> float:
    return float(psnr(a.clamp(-1, 1) / 2 + 0.5, b / 2 + 0.5))


def of_system(store: Store, trained: Trained, found: Measured, scale: float) -> Figures:
    """Means of `figures` over the kept photos, with the PSNR of what was sampled and of bicubic."""
    system = system_of(store, trained.inputs)
    assert isinstance(system, LatentSystem)
    rows = []
    for one in found.images:
        if one["scale"] == scale:
            lr, truth, out, bicubic = (_read(store, one[name]) for name in ("lr", "truth", "output", "bicubic"))
            rows.append({**figures(system, lr, truth), "sampled": _psnr(out, truth), "bicubic": _psnr(bicubic, truth)})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _read(store: Store, path: str) -> Tensor:
    pixels = torch.from_numpy(np.array(decode_rgb(get_blob(store, path), path)))
    return from_levels(pixels.permute(2, 0, 1)[None])


def of_study(study: StudyConfig, ctx: Here) -> Iterator[tuple[str, int, Figures]]:
    """(row, seed, figures) of every aligned latent system. Raises TrainingStoppedError for what is not on record."""
    data = data_of(study, ctx)
    for trained in systems(study, data, ctx):
        if "joint" in trained.inputs and not trained.label.endswith(UNALIGNED):
            label, evaluate = next(iter(questions(study, trained)))
            ref = launch(measure_request(study, trained, label, evaluate, data, ctx.run), ctx).ref
            yield label, trained.seed, of_system(ctx.store, trained, read_measured(ctx.store, ref), study.own_scale)


def main() -> None:
    """Print a line a system, and write the figures."""
    words = argparse.ArgumentParser(description="What a study's decoders make of the true, known and sampled latents.")
    words.add_argument("--study", default="study-2core")
    words.add_argument("--out", type=Path)
    told = words.parse_args()
    ctx = here(load_settings(), Quiet(), may_make=False)
    rows = [{"system": s, "seed": n, **f} for s, n, f in of_study(load_study(told.study), ctx)]
    names = [name for name in rows[0] if name not in ("system", "seed")]
    print(" | ".join(["system", "seed", *names]))
    for row in rows:
        print(" | ".join([str(row["system"]), str(row["seed"]), *(f"{row[name]:.2f}" for name in names)]))
    if told.out:
        told.out.write_text(json.dumps({"study": told.study, "commit": code().commit, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
