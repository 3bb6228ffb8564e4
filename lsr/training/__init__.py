"""The training loop and its objectives: plain PyTorch that runs with no Ray.

Read `loop.py` first. Importing this package or its `config` does not import torch.
"""
