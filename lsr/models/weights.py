"""Weights to and from safetensors bytes, strictly."""

from __future__ import annotations

from collections.abc import Mapping

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor, nn

from lsr.core.errors import IntegrityError


def weights_to_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A state dict as safetensors: equal tensors give equal bytes, wherever they live."""
    data: bytes = safetensors.torch.save({name: value.detach().cpu().contiguous() for name, value in state.items()})
    return data


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def load_weights(module: nn.Module, data: bytes, where: str) -> None:
    """Replace every parameter and buffer of `module` (which may live on the meta device) by those in `data`.

    where: what the bytes are, for messages. Raises IntegrityError naming missing, unexpected and ill-shaped tensors.
    """
    try:
        found: dict[str, Tensor] = safetensors.torch.load(data)
    except SafetensorError as error:
        raise IntegrityError(f"{where} is not a safetensors file ({error}); fetch or build it again.") from error
    if faults := misfits(module, found):
        raise IntegrityError(f"{where} does not fit the {type(module).__name__} of its config: it {faults}.")
    module.load_state_dict(found, assign=True)


def misfits(module: nn.Module, found: Mapping[str, Tensor]) -> str:
    """What keeps `found` from being the parameters and buffers of `module`: missing, unexpected and ill-shaped tensors,
    as the end of a sentence; empty where nothing does.
    """
    wanted = module.state_dict()
    faults = []
    if missing := sorted(wanted.keys() - found.keys()):
        faults.append(f"lacks {_some(missing)}")
    if unexpected := sorted(found.keys() - wanted.keys()):
        faults.append(f"has unexpected {_some(unexpected)}")
    wrong = [
        f"{name} as {found[name].dtype} {tuple(found[name].shape)} instead of {value.dtype} {tuple(value.shape)}"
        for name, value in wanted.items()
        if name in found and (found[name].shape != value.shape or found[name].dtype != value.dtype)
    ]
    if wrong:
        faults.append(f"holds {_some(wrong)}")
    return "; it ".join(faults)
