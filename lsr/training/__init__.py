"""The training loop and its objectives: plain PyTorch that runs with no Ray.

May import torch, safetensors, lsr.core, lsr.nn, lsr.diffusion, lsr.store and lsr.models. Read `loop.py` first.
Importing this package or its `config` does not import torch.
"""
