# Types of what __init__.py looks up by name.
from lsr.tools.loading import load

__all__ = ["__version__", "load"]
__version__: str
