"""The processes that train together: a sum, a broadcast, and failing together.

A collective that one rank does not reach blocks the others until a time-out, so nothing here may be called under a
condition that differs between ranks; what can fail on one rank alone goes into `together`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from lsr.core.errors import RunFailedError

MESSAGE_BYTES = 2048


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """One of `size` processes; rank 0 writes. With size 1 nothing is communicated."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def here(cls, device: torch.device | str = "cpu") -> World:
        """The world of torch's default process group, or this process alone where there is none."""
        joined = dist.is_available() and dist.is_initialized()
        rank, size = (dist.get_rank(), dist.get_world_size()) if joined else (0, 1)
        return cls(rank=rank, size=size, device=torch.device(device))

    def sum_(self, flat: Tensor) -> None:
        """Replace `flat` by its sum over ranks: one all_reduce."""
        if self.size > 1:
            with self._peers("sum gradients"):
                dist.all_reduce(flat)

    def broadcast_(self, tensor: Tensor) -> None:
        """Replace `tensor` by rank 0's."""
        if self.size > 1:
            with self._peers("receive the state of rank 0"):
                moved = tensor.to(self.device).contiguous()
                dist.broadcast(moved, src=0)
                tensor.copy_(moved)

    def barrier(self) -> None:
        """Wait until every rank is here."""
        if self.size > 1:
            with self._peers("meet"):
                dist.barrier()

    def agree(self, fault: str | None) -> None:
        """Raise RunFailedError on every rank if any has a `fault`, naming the lowest such rank and its fault."""
        for rank, message in enumerate(self._messages(fault)):
            if message:
                raise RunFailedError(f"Rank {rank} of {self.size} failed: {message}" if self.size > 1 else message)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What fails inside on one rank fails on all: there its own error, elsewhere RunFailedError with the cause."""
        try:
            yield
        except Exception as error:
            if self.size > 1:
                self._messages(_sentence(error))
            raise
        self.agree(None)

    def _messages(self, message: str | None) -> list[str]:
        if self.size == 1:
            return [message or ""]
        data = torch.zeros(MESSAGE_BYTES, dtype=torch.uint8)
        text = (message or "").encode()[:MESSAGE_BYTES]
        data[: len(text)] = torch.tensor(list(text), dtype=torch.uint8)
        with self._peers("agree"):
            gathered = [torch.empty_like(data, device=self.device) for _ in range(self.size)]
            dist.all_gather(gathered, data.to(self.device))
        return [bytes(row.tolist()).rstrip(b"\0").decode(errors="replace") for row in gathered]

    @contextmanager
    def _peers(self, doing: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            raise RunFailedError(
                f"Rank {self.rank} of {self.size} could not {doing} with the others, so one of them has probably "
                f"ended; see its log and run the same command again ({str(error).splitlines()[0]})."
            ) from error


def _sentence(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
