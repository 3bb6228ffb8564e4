"""What the last bits of a run depend on besides its inputs, and torch's switches for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

from lsr.training.world import World


def environment(world: World, batch: int, micro_batch: int | None) -> dict[str, str]:
    """World size, micro-batch, threads, kind of device and torch version: equal ones continue a run bit for bit.

    The micro-batch is the largest one in use: None, and any above the largest share of `batch`, cut nothing.
    """
    share = -(-batch // world.size)
    cuda = world.device.type == "cuda"
    kind = torch.cuda.get_device_name(world.device) if cuda else torch.backends.cpu.get_cpu_capability()
    return {
        "world size": str(world.size),
        "micro-batch": str(min(micro_batch or share, share)),
        "threads": str(torch.get_num_threads()),
        "device": f"{world.device.type} {kind}",
        "torch": torch.__version__,
    }


def differences(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """What changed, as words: `world size was 4 and is 2, ...`; empty when nothing did."""
    names = sorted(before.keys() | now.keys())
    changed = [name for name in names if before.get(name) != now.get(name)]
    return ", ".join(f"{name} was {before.get(name)} and is {now.get(name)}" for name in changed)


def seed_generator(device: torch.device, seed: int) -> None:
    """Seed the generator that dropout on `device` draws from.

    torch.manual_seed would seed every backend, and queues a call with its stack for each one not in use.
    """
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
    else:
        torch.default_generator.manual_seed(seed)


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Deterministic kernels wherever torch has them, for the length of the block.

    Without a deterministic kernel torch warns and continues. Memory-efficient attention has none for its backward, so
    CUDA falls back to the plain one where flash attention does not apply.
    """
    # cuBLAS reads this when it is first used; without it, its workspaces differ between runs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    debug_mode, benchmark = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    efficient = torch.backends.cuda.mem_efficient_sdp_enabled()  # type: ignore[no-untyped-call]
    # The same switch as use_deterministic_algorithms(warn_only=True), which imports the compiler, seconds a process.
    torch.set_deterministic_debug_mode("warn")
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(debug_mode)
        torch.backends.cudnn.benchmark = benchmark
        torch.backends.cuda.enable_mem_efficient_sdp(efficient)
