"""Importing the other loaders, each perhaps in an environment of its own. Standard library only."""

from __future__ import annotations

import importlib
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any


def library_of(name: str) -> Any:
    """The library, imported."""
    if name == "streaming":
        _torchvision()
    library = importlib.import_module(name)
    if name == "litdata":
        # Its S3 client rejects plain HTTP, which a server of this machine speaks, and has no public option for it.
        options = importlib.import_module("litdata.streaming.downloader")._OBSTORE_CLIENT_OPTIONS
        options["allow_http"] = True
    return library


def _torchvision() -> None:
    """Put a stand-in for torchvision where it cannot be imported: its wheels want a CUDA build of torch, Streaming
    imports it for its ready-made image sets, and shards of bytes need nothing of it."""
    try:
        importlib.import_module("torchvision")
    except (ImportError, RuntimeError):
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        names = {"": (), ".datasets": ("VisionDataset",), ".transforms": (), ".transforms.functional": ("to_tensor",)}
        for name, held in names.items():
            module = types.ModuleType(f"torchvision{name}")
            module.__spec__ = ModuleSpec(module.__name__, None)
            vars(module).update({one: type(one, (), {}) for one in held})
            sys.modules[module.__name__] = module
