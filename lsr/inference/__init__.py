"""Trained systems at work: any picture to any size, or pictures from noise.

`upscale.py` and `generate.py` are the entries; `windows.py` bounds memory for large inputs, `render.py` for large
outputs.
"""
