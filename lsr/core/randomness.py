"""Counter-based randomness: a draw is a pure function of (seed, stage, purpose, index); resuming needs no RNG state."""

from __future__ import annotations

import hashlib


def derive_seed(seed: int, *path: str | int) -> int:
    """A 63-bit seed for the draw named by `path`, e.g. `derive_seed(7, "denoise", "noise", position)`.

    Indices count what the draw belongs to: the sample position for timestep and noise, the global batch for the
    output scale, (step, first place of the micro-batch) for dropout. Equal arguments give equal seeds on every machine.
    """
    text = "\x1f".join(str(part) for part in (seed, *path)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1
