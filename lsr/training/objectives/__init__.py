"""One module a stage: what it trains, its loss and its picture. May import torch, lsr.core, lsr.nn, lsr.diffusion and
lsr.models; every class is an `lsr.training.protocols.Objective`.
"""
