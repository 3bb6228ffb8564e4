"""The script that MLflow runs to load a packaged model version. Never imported by lsr: MLflow executes it.

It needs lsr.core, lsr.nn, lsr.diffusion, lsr.models and lsr.inference, which the version carries beside it in `code/`.
Super-resolution takes rows (image: bytes of an image file, scale: output / input side); generation takes
rows (side: pixels, seed). Both answer one PNG per row.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow.models
import mlflow.pyfunc
import pandas as pd

if TYPE_CHECKING:
    from lsr.diffusion.config import SamplerConfig


class LsrModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """One LSR system behind MLflow's pyfunc interface."""

    def load_context(self, context: Any) -> None:
        """The system from the version's config and safetensors, on the GPU if there is one; nothing is unpickled."""
        from lsr.inference.executor import Executor
        from lsr.models.system import load_system

        config, weights = (Path(context.artifacts[name]).read_bytes() for name in ("config", "weights"))
        system = load_system(config, weights, where="This model version")
        self._executor, self._upscales = Executor(system), system.config.conditional

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[bytes]:
        """model_input: the signature's columns. params: steps, eta, sampler and (upscaling) seed and
        fidelity; by default as the version was evaluated.

        Raises InputError or ConfigError, in one sentence, for what is no image, no scale or no sampler.
        """
        sampler = _sampler(params or {}, self._executor.sampler)
        rows = model_input.to_dict("records")
        if self._upscales:
            return [self._upscale(row, sampler) for row in rows]
        return [self._generate(row, sampler) for row in rows]

    def _upscale(self, row: dict[str, Any], sampler: SamplerConfig) -> bytes:
        from lsr.core.encoding import png
        from lsr.inference.images import load_image
        from lsr.inference.request import Target

        return png(self._executor.upscale(load_image(row["image"]), Target(scale=float(row["scale"])), sampler))

    def _generate(self, row: dict[str, Any], sampler: SamplerConfig) -> bytes:
        from lsr.core.encoding import png

        side = int(row["side"])
        return png(self._executor.generate((side, side), 1, replace(sampler, seed=int(row["seed"])))[0])


def _sampler(params: dict[str, Any], default: SamplerConfig) -> SamplerConfig:
    """The request's sampler: `sampler` names it, the other params are its fields. Raises ConfigError."""
    from lsr.core.config import as_plain, from_plain
    from lsr.diffusion.config import SamplerConfig

    # The signature's types arrive as numpy's own.
    kinds = {"steps": int, "eta": float, "sampler": str, "seed": int, "fidelity": float}
    plain = {"name" if name == "sampler" else name: kinds[name](value) for name, value in params.items()}
    return from_plain(SamplerConfig, {**as_plain(default), **plain})


mlflow.models.set_model(LsrModel())
