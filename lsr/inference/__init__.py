"""Trained systems at work: any image to any size, or images from noise.

`executor.py` is the entry: one system on one device. `request.py` says what may be asked, `upscale.py` and
`generate.py` run the diffusion, `render.py` and `windows.py` bound memory for large outputs and inputs.
"""
