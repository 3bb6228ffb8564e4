"""LSR: arbitrary-scale image generation and super-resolution as a data-and-training pipeline.

The map of the packages is in docs/architecture.md. Importing this package loads nothing heavy.
"""

__version__ = "0.1.0"
