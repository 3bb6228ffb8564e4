"""A study in this process: no Ray, no MLflow, a limit of seconds. What is stopped resumes with the same command."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from lsr.core.errors import TrainingStoppedError
from lsr.core.progress import Progress
from lsr.core.refs import Ref
from lsr.core.resources import Resources
from lsr.core.settings import Settings
from lsr.engine.context import Context
from lsr.recipes.run import MapRun, Run, TrainRun
from lsr.recipes.study import StudyConfig
from lsr.registry.tracking import MlflowTracker
from lsr.store import open_store
from lsr.study.run import StudyResult, run_study

AGAIN_SECONDS = 5.0


class Untracked(MlflowTracker):
    """Keeps nothing."""

    def last_step(self) -> int:
        return 0

    def metrics(self, step: int, values: Mapping[str, float]) -> None: ...

    def image(self, name: str, step: int, array: npt.NDArray[np.uint8]) -> None: ...

    def params(self, values: Mapping[str, Any]) -> None: ...

    def artifact(self, path: Path, folder: str | None = None) -> None: ...

    def text(self, name: str, text: str) -> None: ...

    def tags(self, values: Mapping[str, str]) -> None: ...

    def inputs(self, refs: Mapping[str, Ref], store: str, context: str = "training") -> None: ...

    def close(self) -> None: ...


class Here(Context):
    """Maps and trains in this process. may_make: False raises for what is not recorded yet."""

    may_make: bool = True

    def ray(self) -> Any:
        """Stages open a session before they know that it has nothing to do."""
        return None

    def shared_cache(self) -> str:
        """The worker is this process."""
        return str(self.settings.cache)

    def each(
        self, function: Callable[..., Any], items: Sequence[Any], spread: MapRun, name: str, unit: str, **options: Any
    ) -> Generator[tuple[int, Any]]:
        self._allowed(name)
        setup = options.get("setup")
        first = (setup(),) if setup else ()
        return ((place, function(*first, item)) for place, item in enumerate(items))

    @contextmanager
    def tracked(self, stage: str, key: str) -> Iterator[str]:
        """No run: its id is empty, so that workers report nothing."""
        self._allowed(stage)
        yield ""

    def tracker(self, run: str) -> MlflowTracker:
        return Untracked("", run)

    def _allowed(self, stage: str) -> None:
        if not self.may_make:
            raise TrainingStoppedError(f"Stage {stage} is not finished; run the study until it is done first.")


def here(settings: Settings, progress: Progress, *, may_make: bool = True) -> Here:
    """The context of one command."""
    # 0 workers is the training launcher's word for this process.
    worker = Resources(gpus=1.0 if torch.cuda.is_available() else 0.0)
    how = Run(name="here", train=TrainRun(workers=0, worker=worker), latents_batch=256)
    ctx = Here(settings=settings, store=open_store(settings.store), run=how, progress=progress)
    ctx.may_make = may_make
    return ctx


def run_for(study: StudyConfig, data: dict[str, Ref], ctx: Here, seconds: float) -> StudyResult:
    """The study, or as much of it as fits. Raises TrainingStoppedError when the time is up: training has then saved a
    checkpoint, a measurement under way is lost, and the same call resumes.
    """
    with _limit(seconds):
        return run_study(study, ctx, data)


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """SIGTERM, from whomever, stops the block; this process sends it to itself when the time is up. Training catches
    it and saves; anything else ends where it is, which every stage survives.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise TrainingStoppedError("The time is up; what is finished is recorded. Run the same command to resume.")

    def watch() -> None:
        wait = seconds
        # Again, because a training run that ends by itself at that very step takes the first one for its own.
        while not done.wait(wait):
            os.kill(os.getpid(), signal.SIGTERM)
            wait = AGAIN_SECONDS

    done = threading.Event()
    before = signal.signal(signal.SIGTERM, stop)
    watcher = threading.Thread(target=watch, name="limit", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        signal.signal(signal.SIGTERM, before)
