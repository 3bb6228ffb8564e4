"""One system on one device: the way in which evaluation, studies, inference, serving and the command line ask one.

executor = Executor(system)
larger = executor.upscale(image, Target(scale=3.7))
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lsr.core.errors import ConfigError, InputError
from lsr.diffusion.config import SamplerConfig
from lsr.diffusion.samplers import steps_for
from lsr.diffusion.schedule import Schedule
from lsr.inference.baselines import Comparator, answer
from lsr.inference.config import ExecutorConfig, Precision
from lsr.inference.generate import generated
from lsr.inference.render import Sampled, render, render_exact
from lsr.inference.request import Image, Size, Target, check_image, check_size
from lsr.inference.upscale import sampled
from lsr.models.config import SystemConfig
from lsr.models.system import LatentSystem

LR_PIXELS_AT_ONCE = 1 << 20
"""Of one batch of LR images, which bounds its memory however large they are."""

Exact: TypeAlias = NDArray[np.float32]
Upscaler: TypeAlias = Callable[[Image, Sequence[Size]], Sequence[Image | Exact]]
"""From LR [h, w, 3] uint8 and sizes (H, W) to one output per size, all from the same latent."""

P = TypeVar("P", Image, Exact)

_DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def device_of(config: ExecutorConfig) -> torch.device:
    """Where `config` puts systems. Raises ConfigError for a GPU that this process does not see."""
    here = torch.cuda.is_available()
    if config.device == "cuda" and not here:
        raise ConfigError("executor.device is cuda and this process sees no GPU; set it to auto or cpu.")
    return torch.device("cuda" if here and config.device != "cpu" else "cpu")


def placed(network: nn.Module, device: torch.device) -> Callable[..., Tensor]:
    """A metric's network on `device` as a function that takes and gives tensors of the CPU."""
    moved = network.to(device)

    def ask(*images: Tensor) -> Tensor:
        with _arithmetic(device, "fp32"), torch.no_grad():
            out: Tensor = moved(*(image.to(device) for image in images))
            return out.cpu()

    return ask


class Executor:
    """A latent system or a comparator, in eval mode on its device.

    precision: of the networks; a comparator takes it too. An image does not depend on the batch it is made in, but for
    rounding. Requests that no image could satisfy raise InputError; `check` finds them before any work.
    """

    def __init__(
        self,
        model: LatentSystem | Comparator,
        config: ExecutorConfig = ExecutorConfig(),
        precision: Precision = "fp32",
    ) -> None:
        self.model, self.config, self.precision = model, config, precision
        self.device = device_of(config)
        self.network = model.network if isinstance(model, Comparator) else model
        self.network.eval().to(self.device)
        if config.channels_last:
            # The stubs of torch know no `to` with a memory format alone.
            self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def sampler(self) -> SamplerConfig:
        """How images are drawn where a request does not say it."""
        return self.model.config.sampler if isinstance(self.model, LatentSystem) else SamplerConfig()

    def check(self, sampler: SamplerConfig) -> None:
        """Raises InputError unless this system can upscale by this sampler."""
        if isinstance(self.model, LatentSystem) and not self.model.config.conditional:
            raise InputError("This model generates images and takes no LR image; use a super-resolution model.")
        self._check_sampler(sampler)

    def _check_sampler(self, sampler: SamplerConfig) -> None:
        if faults := sampler.faults():
            raise InputError(" ".join(faults))
        if isinstance(self.model, LatentSystem):
            self._check_system(self.model.config, sampler)
        schedule = getattr(self.network, "schedule", None)
        if isinstance(schedule, Schedule):
            steps_for(schedule.steps, sampler.steps)

    def _check_system(self, config: SystemConfig, sampler: SamplerConfig) -> None:
        if config.diffusion.shift and (sampler.name != "ddim" or sampler.eta):
            raise InputError(
                f"This model samples by residual shifting, which is sampler ddim with eta 0, found {sampler.name} "
                f"with {sampler.eta:g}."
            )
        if sampler.fidelity and not config.conditional:
            raise InputError(
                f"fidelity needs an LR image, which generation has not; set it to 0, not {sampler.fidelity:g}."
            )

    def upscale(self, image: Image, target: Target, sampler: SamplerConfig | None = None) -> Image:
        """uint8 [H, W, 3], 1 x 1 and up -> uint8 [H', W', 3]. sampler: the system's own by default."""
        return self.upscale_all([image], [target], sampler)[0][0]

    def upscale_all(
        self, images: Sequence[Image], targets: Sequence[Target], sampler: SamplerConfig | None = None
    ) -> list[list[Image]]:
        """Every image at every target, from one latent per image; images of one size share calls of the network."""
        sampler = sampler or self.sampler
        sizes = self._sizes(images, targets, sampler)
        if isinstance(self.model, Comparator):
            with _arithmetic(self.device, self.precision):
                return [answer(self.model, one, at, sampler) for one, at in zip(images, sizes, strict=True)]
        return self._rendered(self.model, images, sizes, sampler, render)

    def upscale_exact(self, image: Image, targets: Sequence[Target], sampler: SamplerConfig) -> list[Exact]:
        """`upscale_all` of one image before it rounds: float32 [H', W', 3] in [0, 1]. Of latent systems only."""
        if isinstance(self.model, Comparator):
            raise InputError("A comparator answers in 8 bits; only a latent system can be asked before rounding.")
        sizes = self._sizes([image], targets, sampler)
        return self._rendered(self.model, [image], sizes, sampler, render_exact)[0]

    def upscaler(self, sampler: SamplerConfig, *, rounding: bool = True) -> Upscaler:
        """The system as an evaluation asks it. rounding: to 8 bits, as comparators always do."""

        def ask(lr: Image, sizes: Sequence[Size]) -> Sequence[Image | Exact]:
            targets = [Target(size=size) for size in sizes]
            if rounding or isinstance(self.model, Comparator):
                return self.upscale_all([lr], targets, sampler)[0]
            return self.upscale_exact(lr, targets, sampler)

        return ask

    def generate(self, size: Size, count: int = 1, sampler: SamplerConfig | None = None) -> Image:
        """`count` images from noise, uint8 [count, H, W, 3]. Image i depends on sampler.seed and i alone."""
        check_size(size)
        sampler = sampler or self.sampler
        if count < 1:
            raise InputError(f"count must be at least 1, found {count}.")
        if isinstance(self.model, Comparator):
            raise InputError("A comparator needs an LR image and cannot generate; use a generation model.")
        self._check_sampler(sampler)
        out = np.empty((count, *size, 3), dtype=np.uint8)
        with _arithmetic(self.device, self.precision):
            for first in range(0, count, self.config.batch):
                numbers = range(first, min(first + self.config.batch, count))
                out[numbers.start : numbers.stop] = generated(self.model, size, numbers, sampler)
        return out

    def _sizes(self, images: Sequence[Image], targets: Sequence[Target], sampler: SamplerConfig) -> list[list[Size]]:
        """Per image the size of every target; raises InputError for any part of the request before any work."""
        self.check(sampler)
        for image in images:
            check_image(image)
        return [[target.of((image.shape[0], image.shape[1])) for target in targets] for image in images]

    def _rendered(
        self,
        system: LatentSystem,
        images: Sequence[Image],
        sizes: Sequence[Sequence[Size]],
        sampler: SamplerConfig,
        draw: Callable[[LatentSystem, Sampled, Size], P],
    ) -> list[list[P]]:
        out: list[list[P]] = [[] for _ in images]
        for places in self._batches(images):
            with _arithmetic(self.device, self.precision):
                batch = sampled(system, np.stack([images[place] for place in places]), sampler)
                # Images of one size have one list of sizes: targets are the same for all.
                for size in sizes[places[0]]:
                    for place, output in zip(places, draw(system, batch, size), strict=True):
                        out[place].append(output)
        return out

    def _batches(self, images: Sequence[Image]) -> Iterator[list[int]]:
        """Places of images of one size, at most so many as may go together."""
        by_shape: dict[tuple[int, ...], list[int]] = defaultdict(list)
        for place, image in enumerate(images):
            by_shape[image.shape].append(place)
        for (height, width, _), places in by_shape.items():
            together = max(1, min(self.config.batch, LR_PIXELS_AT_ONCE // (height * width)))
            for first in range(0, len(places), together):
                yield places[first : first + together]


@contextmanager
def _arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """The networks' precision. fp32 is fp32: cuDNN's default, TF32, keeps 10 bits of a product's 23.

    cuDNN's flags are the process's while the block lasts; autocast is the thread's.
    """
    with (
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        torch.autocast(device.type, _DTYPES[precision], enabled=precision != "fp32"),
    ):
        yield
