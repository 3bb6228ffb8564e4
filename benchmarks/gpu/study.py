"""A study on a machine with one GPU, moved by hand: files in, commands of minutes, files out (docs/study.md).

    python -m benchmarks.gpu.study pack --out carried            at home: carried/study-gpu-0.tar, at most 30 MiB
    python -m benchmarks.gpu.study unpack carried/study-gpu-0.tar               there, into a fresh LSR_HOME
    python -m benchmarks.gpu.study run --seconds 540             there, again until it says that it is done
    python -m benchmarks.gpu.study results --out out             there: out/results-<i>.tar, at most 16 MiB each
    python -m benchmarks.gpu.study weights --system ours --out out/ours         there, parts of at most 16 MiB
    python -m benchmarks.gpu.study unpack out/results-0.tar      at home: the page, and every measurement on record

Neither Ray nor MLflow is used or needed there.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gpu.carry import MIB, unpack, write_parts
from benchmarks.gpu.data import closure, members_for, outputs_of, refs_of
from benchmarks.gpu.here import Here, here, run_for
from benchmarks.gpu.weights import write_weights
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.errors import InputError, LsrError, NotFoundError, TrainingStoppedError, VersionMismatchError
from lsr.core.progress import RichProgress
from lsr.core.settings import Settings, load_settings
from lsr.core.software import commit
from lsr.engine.launch import launch
from lsr.inference.baselines import Comparator
from lsr.recipes.study import StudyConfig, load_study
from lsr.stages.measure import system_of
from lsr.study.systems import data_of, measure_request, questions, systems

IN_BYTES = 30 * MIB
OUT_BYTES = 16 * MIB
MOST_PARTS = 8
HEAD = "carried.json"


def pack(name: str, ctx: Here, out: Path) -> list[Path]:
    """One file with all that the study `name` needs elsewhere; image set and tiles are made first if they are not
    there.
    """
    study = load_study(name)
    members, data = members_for(study, data_of(study, ctx), ctx)
    facts = {"study": name, "config": _digest(study), **data}
    lower = "tile.max_per_image or evaluate.photos of the study"
    return write_parts(out, study.name, members, facts, limit=IN_BYTES, parts=1, lower=lower)


def take(path: Path, settings: Settings) -> dict[str, Any]:
    """Unpack a carried file; one with data also says from now on what `run` works on."""
    facts = unpack(path, settings)
    if "data" in facts:
        (settings.home / HEAD).write_text(json.dumps(facts))
    return facts


def results(study: StudyConfig, facts: dict[str, Any], ctx: Here, out: Path) -> list[Path]:
    """The page, its files and every measurement with its images. Raises NotFoundError before the study is done."""
    folder = ctx.settings.output / study.name
    if not folder.is_dir():
        raise NotFoundError(f"{folder} is missing: the study is not done; run it until it is.")
    members = outputs_of(folder, study.name)
    data = refs_of(facts)
    for trained in systems(study, data, ctx):
        for label, evaluate in questions(study, trained):
            request = measure_request(study, trained, label, evaluate, data, ctx.run)
            members |= closure(ctx.store, launch(request, ctx).ref)
    said = {"study": study.name}
    return write_parts(out, "results", members, said, limit=OUT_BYTES, parts=MOST_PARTS, lower="evaluate.photos")


def weights(study: StudyConfig, facts: dict[str, Any], ctx: Here, label: str, seed: int, out: Path) -> list[Path]:
    """The averaged weights of one system. Raises InputError for one that the study does not have."""
    for trained in systems(study, refs_of(facts), ctx):
        if (trained.label, trained.seed) == (label, seed):
            system = system_of(ctx.store, trained.inputs)
            network = system.network if isinstance(system, Comparator) else system
            said = {
                "study": study.name,
                "system": label,
                "seed": seed,
                "config": as_plain(system.config),
                "commit": commit() or "unknown",
            }
            return write_weights(out, network.state_dict(), said, OUT_BYTES)
    raise InputError(f"Study {study.name} has no system {label} of seed {seed}; its seeds are {study.seeds}.")


def carried(settings: Settings) -> tuple[StudyConfig, dict[str, Any]]:
    """The study that was unpacked here, for this device. Raises NotFoundError where none was."""
    path = settings.home / HEAD
    if not path.is_file():
        raise NotFoundError(f"{path} is missing: no study was unpacked below LSR_HOME; unpack one first.")
    facts: dict[str, Any] = json.loads(path.read_text())
    study = load_study(facts["study"])
    if _digest(study) != facts["config"]:
        raise VersionMismatchError(
            f"Study {facts['study']} is another one here than where {path} was packed; use the same commit on both."
        )
    return study, facts


def _digest(study: StudyConfig) -> str:
    return sha256_hex(canonical_json(as_plain(study)))


def _run(settings: Settings, seconds: float) -> str:
    study, facts = carried(settings)
    result = run_for(study, refs_of(facts), here(settings, RichProgress()), seconds)
    return f"done; written to {result.folder}"


def _written(paths: list[Path]) -> str:
    return "\n".join(f"{path} {path.stat().st_size / MIB:.1f} MiB" for path in paths)


def _parser() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(description="A study moved by hand to a machine with one GPU.")
    verbs = words.add_subparsers(dest="verb", required=True)
    packing = verbs.add_parser("pack")
    packing.add_argument("--study", default="study-gpu", help="name, or package.module:function")
    unpacking = verbs.add_parser("unpack")
    unpacking.add_argument("file", type=Path)
    running = verbs.add_parser("run")
    running.add_argument("--seconds", type=float, default=540.0, help="stop and save after so long")
    exporting = verbs.add_parser("weights")
    exporting.add_argument("--system", required=True, help="a row of the table, e.g. ours")
    exporting.add_argument("--seed", type=int, default=1)
    for verb in (packing, exporting, verbs.add_parser("results")):
        verb.add_argument("--out", type=Path, required=True, help="folder")
    return words


def _answer(told: argparse.Namespace, settings: Settings) -> str:
    if told.verb == "pack":
        return _written(pack(told.study, here(settings, RichProgress()), told.out))
    if told.verb == "unpack":
        return f"unpacked {told.file} below {settings.home}: study {take(told.file, settings)['study']}"
    if told.verb == "run":
        return _run(settings, told.seconds)
    study, facts = carried(settings)
    ctx = here(settings, RichProgress(), may_make=False)
    work: dict[str, Callable[[], list[Path]]] = {
        "results": lambda: results(study, facts, ctx, told.out),
        "weights": lambda: weights(study, facts, ctx, told.system, told.seed, told.out),
    }
    return _written(work[told.verb]())


def main() -> int:
    """One command. 0: done; 75: stopped in time, run again; else the error's own code."""
    told = _parser().parse_args()
    try:
        print(_answer(told, load_settings()))
    except TrainingStoppedError as stop:
        print(stop, file=sys.stderr)
        return stop.exit_code
    except LsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
