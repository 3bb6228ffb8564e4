"""Trained systems at work: any picture to any size, or pictures from noise.

May import torch, numpy, PIL, lsr.core, lsr.nn, lsr.diffusion and lsr.models. `upscale.py` and `generate.py` are the
entries; `windows.py` bounds memory for large inputs, `render.py` for large outputs.
"""
