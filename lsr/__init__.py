"""LSR: arbitrary-scale image generation and super-resolution as a data-and-training pipeline.

    model = lsr.load("lsr-demo@champion")
    larger = model.upscale(image, scale=3.7)

Packages and contracts: docs/architecture.md. Importing this package loads nothing heavy.
"""

from importlib import import_module

__version__ = "0.1.0"
__all__ = ["__version__", "load"]

# By name and not by an import statement: a registered version carries this file without the modules named here, and
# every package of lsr imports it, the lowest ones too.
_LAZY = {"load": "lsr.tools.loading"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)
