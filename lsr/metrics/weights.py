"""Reading the weights of a metric from safetensors; nothing is unpickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from lsr.core.errors import IntegrityError


def read_weights(path: Path, name: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a file that `lsr data get NAME` made. Raises IntegrityError when it is not sound."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            return dict(file.metadata() or {}), tensors
    except (SafetensorError, OSError) as error:
        raise IntegrityError(
            f"{path} cannot be read as safetensors: {error}; run `lsr data get {name}` again."
        ) from error


def fill(module: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Load `tensors` strictly. Raises IntegrityError, naming `what`, when the file holds other tensors."""
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise IntegrityError(f"{path} does not hold the weights of {what}: {error}") from error
