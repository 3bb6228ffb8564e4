"""Building blocks of the networks: plain PyTorch modules and pure tensor functions."""
