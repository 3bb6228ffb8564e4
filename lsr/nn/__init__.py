"""Building blocks of the networks: plain PyTorch modules and pure tensor functions. Imports torch and lsr.core only."""
