"""What a study leaves for people: tables, the same numbers as JSON, the contact sheet and the page with curves."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.pixels import decode_rgb
from lsr.core.software import DIRTY, commit
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.evaluation.protocol import Exhibit, Image
from lsr.evaluation.rows import Evaluation
from lsr.recipes.study import StudyConfig
from lsr.report.sheet import contact_sheet
from lsr.report.study import Resampling, cell, metrics_in, scales_in
from lsr.report.study_page import Asked, page
from lsr.stages.measure import Measured
from lsr.store import Store
from lsr.store.content import get_blob
from lsr.study.speed import Speed, speed_of
from lsr.study.systems import PRETRAINED, UNALIGNED

SPEED_SCALES = (4.0, 8.0)


def write(
    folder: Path, study: StudyConfig, measured: dict[str, list[Measured]], requests: dict[str, Request], ctx: Context
) -> list[Path]:
    """Write and log the study's files; returns their paths. requests: one measurement per label, for the speed of that
    system.
    """
    folder.mkdir(parents=True, exist_ok=True)
    evaluations = {label: [one.evaluation for one in seeds] for label, seeds in measured.items()}
    how = Resampling(confidence=study.confidence, resamples=study.resamples)
    speeds = _speeds(study, requests, ctx)
    text = page(f"Study {study.name}", evaluations, asked(study), how, facts_of(study), _speed_table(speeds))
    merged = _merged(evaluations)
    exhibits = _exhibits(ctx.store, measured)
    files = {
        "table.md": text.encode(),
        "table.json": _numbers(study, evaluations, how, speeds),
        "before-after.png": contact_sheet(_on_sheet(exhibits)),
        "report.html": _html(study, merged, exhibits, facts_of(study)),
    }
    paths = []
    for name, data in files.items():
        paths.append(folder / name)
        paths[-1].write_bytes(data)
    _log(study, requests, paths, ctx)
    return paths


def asked(study: StudyConfig) -> Asked:
    """The study's questions for its page."""
    latent = [name for name, _ in study.latent_systems()]
    return Asked(
        own_scale=study.own_scale,
        margins={"psnr": study.margin_psnr, "lpips": study.margin_lpips},
        floor=study.floor_psnr,
        trained=study.evaluate.trained,
        aligned=[(name, name + UNALIGNED) for name in study.with_unaligned()],
        variants=[(variant.name, variant.of) for variant in study.variants],
        few=f"ours-{study.few_steps}",
        many=f"ours-{study.many_steps}",
        lossless={"psnr": study.lossless_psnr, "lpips": study.lossless_lpips},
        learned=[*(name for name, _ in study.baselines()), *latent],
        elsewhere=[PRETRAINED],
    )


def facts_of(study: StudyConfig) -> list[str]:
    """Lines that a reader needs beside the table."""
    sha = commit()
    code = "unknown commit" if sha is None else f"commit {sha[:12]}{' with changes' if sha.endswith(DIRTY) else ''}"
    return [
        f"Training: every system sees {study.images_seen} tiles of {study.ours.tile.size} px over all its stages, once "
        f"for each of the seeds {', '.join(map(str, study.seeds))}; source {study.ours.source.uri}.",
        f"Protocol: {study.evaluate.photos} held-out photos{_after(study.evaluate.skip)}, "
        f"{study.evaluate.crops} regions each, LR side "
        f"{study.evaluate.lr_side} px, trained range x{study.evaluate.trained[0]:g} to x{study.evaluate.trained[1]:g}. "
        f"Diffusion systems sample with {study.evaluate.sampler.steps} {study.evaluate.sampler.name} steps, eta "
        f"{study.evaluate.sampler.eta:g}.",
        f"Cells: mean [{study.confidence:.0%} interval over photos] ± standard deviation between seeds. "
        "Differences are signed so that above 0 is better for the system named first.",
        f"Made on {_gpu()}{_cpu()}, {os.cpu_count()} cores, {code}.",
    ]


def _after(skip: int) -> str:
    return f" after the first {skip}" if skip else ""


def _gpu() -> str:
    import torch

    return f"{torch.cuda.get_device_name()} beside " if torch.cuda.is_available() else ""


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _speeds(study: StudyConfig, requests: dict[str, Request], ctx: Context) -> dict[str, list[Speed]]:
    scales = [scale for scale in SPEED_SCALES if scale in study.evaluate.scales]
    wanted = {label: request for label, request in requests.items() if UNALIGNED not in label}
    with ctx.progress.task("speed", len(wanted), "systems") as task:
        found = {}
        for label, request in wanted.items():
            found[label] = speed_of(request, ctx, study.evaluate.lr_side, scales)
            task.advance(note=label)
    return found


def _speed_table(speeds: dict[str, list[Speed]]) -> str:
    scales = sorted({one.scale for found in speeds.values() for one in found})
    lines = [
        ["system", "parameters", *(f"x{s:g} s/image" for s in scales), "peak MiB above the process's own"],
        ["---"] * (len(scales) + 3),
    ]
    for label, found in speeds.items():
        by_scale = {one.scale: one for one in found}
        seconds = [f"{by_scale[s].seconds:.3f}" if s in by_scale else "-" for s in scales]
        lines.append([label, f"{found[0].parameters:,}", *seconds, f"{max(one.peak_mib for one in found):.0f}"])
    rows = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    gpu = any(one.device == "cuda" for found in speeds.values() for one in found)
    return (
        "### Speed and memory\n\nOne image at a time, median of a few after a warm-up, "
        f"{'on the GPU' if gpu else 'one thread'}, each system in a process of its own.\n\n{rows}\n"
    )


def _numbers(
    study: StudyConfig, evaluations: dict[str, list[Evaluation]], how: Resampling, speeds: dict[str, list[Speed]]
) -> bytes:
    cells = [
        cell(evaluations, system, scale, metric, how)
        for system in ("bicubic", *evaluations)
        for scale in scales_in(evaluations)
        for metric in metrics_in(evaluations)
    ]
    plain = {
        "study": as_plain(study),
        "facts": facts_of(study),
        "cells": [asdict(one) for one in cells if one is not None],
        "speed": {label: [asdict(one) for one in found] for label, found in speeds.items()},
    }
    return (json.dumps(plain, indent=1, sort_keys=True) + "\n").encode()


def _merged(evaluations: dict[str, list[Evaluation]]) -> Evaluation:
    """All systems in one evaluation, for the curves: rows of every seed, bicubic's once."""
    first = next(iter(evaluations.values()))[0]
    rows = [row for row in first.rows if row.system == "bicubic"]
    rows += [
        row
        for label, seeds in evaluations.items()
        if UNALIGNED not in label
        for evaluation in seeds
        for row in evaluation.rows
        if row.system == label
    ]
    return replace(first, rows=tuple(rows))


def _exhibits(store: Store, measured: dict[str, list[Measured]]) -> list[Exhibit]:
    """The kept photos at every scale, with the outputs of the first seed of each system."""
    first = {label: seeds[0].images for label, seeds in measured.items() if UNALIGNED not in label}
    by_place = {label: {(one["photo"], one["scale"]): one for one in found} for label, found in first.items()}
    return [
        Exhibit(
            photo=one["photo"],
            crop=0,
            scale=one["scale"],
            lr=_image(store, one["lr"]),
            truth=_image(store, one["truth"]),
            outputs={
                "bicubic": _image(store, one["bicubic"]),
                **{
                    label: _image(store, places[(one["photo"], one["scale"])]["output"])
                    for label, places in by_place.items()
                },
            },
        )
        for one in next(iter(first.values()))
    ]


def _on_sheet(exhibits: Sequence[Exhibit]) -> list[Exhibit]:
    """Those at the middle and at the largest scale: all of them make no sheet that can be viewed."""
    scales = sorted({exhibit.scale for exhibit in exhibits})
    return [exhibit for exhibit in exhibits if exhibit.scale in (scales[len(scales) // 2], scales[-1])]


def _html(study: StudyConfig, merged: Evaluation, exhibits: Sequence[Exhibit], facts: Sequence[str]) -> bytes:
    from lsr.report.page import Content
    from lsr.report.page import page as html_page

    content = Content(
        title=f"Study {study.name}",
        lead=f"{len(merged.rows)} measurements of systems trained on the same {study.images_seen} tiles each.",
        evaluation=merged,
        exhibits=exhibits,
        notes=facts,
    )
    return html_page(content)


def _image(store: Store, path: str) -> Image:
    return decode_rgb(get_blob(store, path), f"{store.uri}/{path}")


def _log(study: StudyConfig, requests: dict[str, Request], paths: Sequence[Path], ctx: Context) -> None:
    key = sha256_hex(canonical_json({label: request.key for label, request in requests.items()}))
    with ctx.tracked("study", key) as run:
        tracker = ctx.tracker(run)
        tracker.params({"study": study.name, "seeds": list(study.seeds), "images_seen": study.images_seen})
        for path in paths:
            tracker.artifact(path)
        tracker.close()
