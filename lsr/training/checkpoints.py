"""Checkpoints in the store: safetensors files, then one fenced pointer.

`runs/<key>/checkpoint.json` is moved by compare-and-swap and names the newest checkpoints; their files lie beside it
in `runs/<key>/checkpoint/`, named by their sha256. They are not among the shared blobs because old ones are deleted,
and another run's result may hold the same bytes.

Runs that differ in their duration alone are siblings: one may resume from another's checkpoint where both have the same
learning rates up to there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from lsr.core.errors import (
    ConflictError,
    IntegrityError,
    LeaseLostError,
    NotFoundError,
    StoreError,
    VersionMismatchError,
)
from lsr.core.files import file_sha256
from lsr.store import Store
from lsr.store.content import Blob, put_blob
from lsr.store.files import temporary_folder
from lsr.store.pointers import Value, read_pointer, take_pointer, write_pointer

KEEP = 2

Tensors = dict[str, dict[str, Tensor]]
T = TypeVar("T")

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resume:
    """One time that a run went on from a checkpoint. step: where. note: why the result is not bit-exact, or empty.
    run: action key of the shorter or longer run whose checkpoint it was, empty for its own.
    """

    step: int
    note: str = ""
    run: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A run after `step` global batches. parts: store key of each file by part. environment: see `environment.py`.
    resumed_from: all resumptions before it. metrics: the last ones logged. common: whether runs of other durations go
    through this state, too.
    """

    step: int
    environment: dict[str, str]
    resumed_from: tuple[Resume, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    parts: dict[str, str] = field(default_factory=dict)
    common: bool = False

    @staticmethod
    def from_plain(data: Mapping[str, Any]) -> Checkpoint:
        """Read what `asdict` wrote."""
        return Checkpoint(**{**data, "resumed_from": tuple(Resume(**one) for one in data["resumed_from"])})


class Checkpoints:
    """The checkpoints of one action, written by the holder of `fencing` only (LeaseLostError for an older one)."""

    def __init__(self, store: Store, key: str, fencing: int):
        self.store, self._fencing = store, fencing
        self._pointer = f"runs/{key}/checkpoint.json"
        self._folder = f"runs/{key}/checkpoint"
        self._kept: list[Checkpoint] = []

    def newest(self) -> tuple[Checkpoint, Tensors] | None:
        """Take the run over and read its newest sound checkpoint; None for a run that has none yet.

        Falls back to the one before, with a warning, when files are damaged or missing. Raises IntegrityError when
        none is left.
        """
        value = take_pointer(self.store, self._pointer, self._fencing)
        self._kept = _checkpoints(value)
        faults = []
        for checkpoint in self._kept:
            try:
                return checkpoint, {part: self._read(key) for part, key in checkpoint.parts.items()}
            except (IntegrityError, NotFoundError) as error:
                _LOG.warning("The checkpoint at step %d cannot be used: %s", checkpoint.step, error)
                faults.append(str(error))
        if faults:
            raise IntegrityError(
                f"No checkpoint of {self.store.uri}/{self._pointer} can be used; delete it to train from the start. "
                + " ".join(faults)
            )
        return None

    def inherited(self, siblings: Sequence[str], below: int) -> tuple[str, Checkpoint, Tensors] | None:
        """The furthest sound checkpoint of other runs at a step below `below` that this run goes through, too, with the
        run's action key; None where there is none. siblings: action keys.
        """
        found = [
            (one.step, key, one) for key in siblings for one in self._of_run(key) if one.common and one.step < below
        ]
        for _, key, checkpoint in sorted(found, key=lambda each: each[:2], reverse=True):
            try:
                return key, checkpoint, {part: self._read(path) for part, path in checkpoint.parts.items()}
            except (IntegrityError, NotFoundError) as error:
                # The other run may be alive and have replaced it meanwhile.
                _LOG.warning("The checkpoint of run %s at step %d cannot be used: %s", key[:12], checkpoint.step, error)
        return None

    def _of_run(self, key: str) -> list[Checkpoint]:
        """The checkpoints of another run, newest first; none, with a warning, where its pointer cannot be read."""
        try:
            return _checkpoints(read_pointer(self.store, f"runs/{key}/checkpoint.json"))
        except (IntegrityError, VersionMismatchError) as error:
            _LOG.warning("The checkpoints of run %s cannot be used: %s", key[:12], error)
            return []

    def digests(self) -> dict[str, str]:
        """sha256 of each part of the newest checkpoint."""
        return {part: Path(key).stem for part, key in self._kept[0].parts.items()} if self._kept else {}

    def finish(self, *, keep: bool) -> None:
        """Delete the checkpoints of a run whose result is recorded, but for the last one that a longer run can resume
        from if `keep`; the pointer stays and continues to reject a zombie.

        Failing costs space, not the result, and is logged.
        """
        try:
            value = take_pointer(self.store, self._pointer, self._fencing)
            kept = [one for one in _checkpoints(value) if keep and one.common][:1]
            write_pointer(self.store, self._pointer, {"checkpoints": [asdict(one) for one in kept]}, self._fencing)
        except (LeaseLostError, ConflictError, StoreError) as error:
            _LOG.warning("The checkpoints of a finished run were not cleared: %s", error)
            return
        self._kept = kept
        self._purge()

    def save(self, checkpoint: Checkpoint, tensors: Tensors) -> None:
        """Store the tensors of each part, then move the pointer; delete all but the newest KEEP checkpoints and the
        last one that a longer run can resume from.
        """
        parts = self._with_files(tensors, self._write)
        older = [one for one in self._kept if one.step < checkpoint.step]
        saved = [replace(checkpoint, parts=parts), *older]
        common = next((one for one in saved if one.common), None)
        kept = saved[:KEEP] + [one for one in saved[KEEP:] if one is common]
        write_pointer(self.store, self._pointer, {"checkpoints": [asdict(one) for one in kept]}, self._fencing)
        self._kept = kept
        self._purge()

    def publish(self, product: dict[str, Tensor]) -> Blob:
        """Store the run's product among the shared blobs, where its result names it."""
        return self._with_files({"product": product}, lambda path: put_blob(self.store, path, "safetensors"))["product"]

    def _with_files(self, tensors: Tensors, use: Callable[[Path], T]) -> dict[str, T]:
        out = {}
        for part, values in tensors.items():
            with temporary_folder("checkpoint") as folder:
                path = folder / f"{part}.safetensors"
                on_cpu = {name: value.detach().cpu().contiguous() for name, value in values.items()}
                safetensors.torch.save_file(on_cpu, path)
                out[part] = use(path)
        return out

    def _write(self, path: Path) -> str:
        key = f"{self._folder}/{file_sha256(path)}.safetensors"
        self.store.write_file(key, path)
        return key

    def _read(self, key: str) -> dict[str, Tensor]:
        where = f"{self.store.uri}/{key}"
        with temporary_folder("checkpoint") as folder:
            path = folder / "part.safetensors"
            if self.store.download(key, path) != Path(key).stem:
                raise IntegrityError(f"{where} does not have the sha256 in its name.")
            try:
                loaded: dict[str, Tensor] = safetensors.torch.load_file(path)
            except SafetensorError as error:
                raise IntegrityError(f"{where} is not a safetensors file ({error}).") from error
        return loaded

    def _purge(self) -> None:
        """Delete files that no kept checkpoint names, those of killed saves too. Failing costs space, not the run."""
        named = {key for one in self._kept for key in one.parts.values()}
        try:
            for info in self.store.list(f"{self._folder}/"):
                if info.key not in named:
                    self.store.delete(info.key)
        except StoreError as error:
            _LOG.warning("Old checkpoints in %s/%s were not deleted: %s", self.store.uri, self._folder, error)


def _checkpoints(value: Value) -> list[Checkpoint]:
    """What a pointer's value names, newest first."""
    return [Checkpoint.from_plain(one) for one in value["checkpoints"]] if value else []
