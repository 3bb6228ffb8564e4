"""What a blind degradation costs a training step: its condition is made and encoded in the loop, a fixed one is cached.

One step (loss and gradients) of stage *denoise* at the sizes of recipe `demo`, on one thread, for the condition read
from the latent cache, for the same degradation made in the loop, and for a blind one (blur, noise, JPEG). In the loop
the tile is decoded too, which the cached step never reads. In turns, in one process, on the same tiles.

`python -m benchmarks.data.blind` writes results/data/blind.json.
"""

from __future__ import annotations

import io
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.data.figures import spread
from benchmarks.data.sets import samples_of
from benchmarks.surroundings import code, load, machine
from lsr.data.config import DegradationConfig
from lsr.data.degrade import degrade, restore_size
from lsr.models.config import SystemConfig
from lsr.models.system import LatentSystem
from lsr.nn.units import from_levels
from lsr.recipes import load_recipe
from lsr.training.config import DenoiseLoss
from lsr.training.objectives.condition import ConditionInLoop
from lsr.training.objectives.denoise import DenoiseObjective
from lsr.training.protocols import Batch, Draws, Objective

BLIND = DegradationConfig(factor=4, blur=(0.2, 2.0), noise=(1.0, 12.0), jpeg=(40, 90))
TURNS = 15
OUT = Path(__file__).parents[1] / "results" / "data" / "blind.json"

Row = dict[str, Any]


class Steps:
    """The steps by name, over one batch of tiles of the bundled photos, kept as PNG files and as latents."""

    def __init__(self, batch: int, seed: int = 0) -> None:
        recipe = load_recipe("demo")
        (self.fixed,) = recipe.latents.degradations
        torch.manual_seed(seed)
        shape = SystemConfig(
            autoencoder=recipe.autoencoder.model,
            renderer=recipe.decoder.renderer,
            unet=recipe.denoise.unet,
            diffusion=recipe.denoise.diffusion,
        )
        self.system = LatentSystem(shape)
        with torch.no_grad():
            # A U-Net begins with layers of zeros, to which every condition is the same.
            for weight in self.system.unet.parameters():
                weight.add_(0.02 * torch.randn_like(weight))
        self.files = [sample["png"] for sample in samples_of("png", batch, recipe.tile.size, Path())]
        self.draws = Draws(seed=seed, stage="denoise", step=0, first=0)
        self.latents = self._latents()
        self.standard = DenoiseObjective(self.system, DenoiseLoss())

    def _latents(self) -> Batch:
        """What the cache holds, float32 as a source gives it."""
        with torch.no_grad():
            x = from_levels(self._tiles())
            small = restore_size(self.fixed, degrade(self.fixed, x), (x.shape[-2], x.shape[-1]))
            moments, lr = self.system.encoder(x), self.system.encoder(small).mode()
        return {
            "position": torch.arange(len(self.files)),
            "hr_mean": moments.mean,
            "hr_std": moments.std if moments.std is not None else torch.zeros_like(moments.mean),
            "lr": lr,
        }

    def _tiles(self) -> Tensor:
        pixels = np.stack([np.asarray(Image.open(io.BytesIO(data))) for data in self.files])
        return torch.from_numpy(pixels).permute(0, 3, 1, 2)

    def _step(self, objective: Objective, batch: Batch) -> float:
        loss, _ = objective.loss(batch, self.draws)
        torch.autograd.backward(loss)
        return float(loss.detach())

    def cached(self) -> float:
        """The loss with the condition that comes with the latents; gradients are made."""
        return self._step(self.standard, self.latents)

    def in_loop(self, degradation: DegradationConfig) -> float:
        """The loss with the condition made of the tile, which is decoded for it; gradients are made."""
        batch = {name: value for name, value in self.latents.items() if name != "lr"}
        return self._step(ConditionInLoop(self.standard, degradation, self.system), {**batch, "tile": self._tiles()})

    def by_name(self) -> dict[str, Callable[[], float]]:
        """Every way, in the order in which they are timed."""
        return {"cached": self.cached, "fixed": lambda: self.in_loop(self.fixed), "blind": lambda: self.in_loop(BLIND)}


def compare(batch: int, turns: int) -> Row:
    """Milliseconds of the processor a sample by way, and each over the cached one, turn by turn."""
    steps = Steps(batch).by_name()
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(turns + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            if turn:
                spent[name].append((time.process_time() - start) * 1e3 / batch)
    over = {name: [a / b for a, b in zip(found, spent["cached"])] for name, found in spent.items() if name != "cached"}
    return {
        "batch": batch,
        "cpu_ms_per_sample": {name: round(statistics.median(found), 3) for name, found in spent.items()},
        "over_cached": {name: spread(found) for name, found in over.items()},
    }


def main() -> None:
    """Measure and write the record."""
    torch.set_num_threads(1)
    before, row = load(), compare(batch=load_recipe("demo").denoise.train.batch, turns=TURNS)
    facts = {"recipe": "demo", "turns": TURNS, "blind": asdict(BLIND)}
    record = {**facts, "machine": asdict(machine()), **asdict(code()), "load": {"before": before, "after": load()}}
    OUT.write_text(json.dumps({**record, "row": row}, indent=1) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
