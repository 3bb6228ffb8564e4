"""Floor 3a: samplers at work. Pictures in, pictures out, with a system that is already built; no training, no services.

May import torch, Pillow, numpy, lsr.models, lsr.diffusion, lsr.nn and lsr.core.
"""
