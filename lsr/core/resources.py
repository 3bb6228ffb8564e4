"""What one process needs of a machine."""

from __future__ import annotations

from dataclasses import dataclass

from lsr.core.config import Config, NonNegative


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources(Config):
    """What Ray reserves for one process."""

    cpus: NonNegative = 1.0
    """CPU cores."""
    gpus: NonNegative = 0.0
    """GPUs; a fraction shares one."""
    memory_gib: NonNegative = 0.0
    """Memory in GiB; 0 reserves none."""

    def as_ray(self) -> dict[str, float]:
        """By Ray's names of resources, memory in bytes; what is not needed is left out."""
        asked = {"CPU": self.cpus, "GPU": self.gpus, "memory": float(int(self.memory_gib * 2**30))}
        return {name: amount for name, amount in asked.items() if amount}

    def __str__(self) -> str:
        parts = [f"{self.cpus:g} CPU"] if self.cpus else []
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        parts += [f"{self.memory_gib:g} GiB of memory"] if self.memory_gib else []
        return ", ".join(parts) or "nothing"
