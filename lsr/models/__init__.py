"""The systems built from lsr.nn and lsr.diffusion. `config.py` describes them without torch."""
