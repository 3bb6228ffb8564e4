"""A study that is packed, unpacked and run in pieces measures what one that ran through measures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import study as command
from benchmarks.gpu.carry import read
from benchmarks.gpu.data import refs_of
from benchmarks.gpu.here import here, run_for
from benchmarks.gpu.weights import read_weights
from lsr.core.errors import InputError, NotFoundError, TrainingStoppedError
from lsr.core.progress import Quiet, Task
from lsr.core.settings import Settings, load_settings
from lsr.data.index import read_index
from lsr.data.manifest import Manifest
from lsr.engine.launch import launch
from lsr.inference.executor import Executor
from lsr.recipes.study import StudyConfig
from lsr.stages.measure import read_measured, system_of
from lsr.study.speed import Speed
from lsr.study.systems import measure_request, questions, systems
from lsr.training.optimiser import AdamW
from tests.study.test_study_run import tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NAME = "tests.benchmarks.test_gpu_study:small"
ROOT = Path(__file__).parents[2]
WITHOUT = ("ray", "mlflow", "prefect", "boto3")


def small() -> StudyConfig:
    """One comparator and both latent systems, one seed."""
    return replace(tiny(), name="small", liif=None, seeds=(1,))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    home = load_settings({"LSR_HOME": str(tmp_path_factory.mktemp("home"))})
    (path,) = command.pack(NAME, here(home, Quiet()), tmp_path_factory.mktemp("out"))
    return path


def at(home: Path, packed: Path) -> Settings:
    settings = load_settings({"LSR_HOME": str(home)})
    command.take(packed, settings)
    return settings


def measurements(settings: Settings) -> dict[str, str]:
    """Digest of every measurement's rows and images, by label; raises if a training is made again."""
    study, facts = command.carried(settings)
    ctx, data, found = here(settings, Quiet(), may_make=False), refs_of(facts), {}
    for trained in systems(study, data, ctx):
        for label, evaluate in questions(study, trained):
            outcome = launch(measure_request(study, trained, label, evaluate, data, ctx.run), ctx)
            assert not outcome.made
            found[label] = outcome.ref.digest
    return found


class Stopping(Quiet):
    """SIGTERM to this process at training steps (STEPS) and at measured photos (PHOTOS), counted over all runs."""

    STEPS = (3, 6)
    PHOTOS = (1, 4)

    def __init__(self) -> None:
        self.steps = self.photos = 0

    def optimiser(self) -> type[AdamW]:
        """AdamW whose steps are counted."""
        watching = self

        class Counted(AdamW):
            def step(self, rate: float) -> None:
                watching.steps += 1
                if watching.steps in Stopping.STEPS:
                    os.kill(os.getpid(), signal.SIGTERM)
                super().step(rate)

        return Counted

    @contextmanager
    def task(self, name: str, total: float | None, unit: str = "") -> Iterator[Task]:
        with super().task(name, total, unit) as silent:
            yield self if name == "evaluate" else silent

    def advance(self, amount: float = 1, note: str = "") -> None:
        self.photos += 1
        if self.photos in self.PHOTOS:
            os.kill(os.getpid(), signal.SIGTERM)


def in_pieces(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Run until done, stopped at the places of Stopping; what each stop said."""
    study, facts = command.carried(settings)
    said, stopping = [], Stopping()
    monkeypatch.setattr("lsr.training.state.AdamW", stopping.optimiser())
    while True:
        try:
            run_for(study, refs_of(facts), here(settings, stopping), 500.0)
        except TrainingStoppedError as stop:
            said.append(str(stop))
        else:
            return said


def through(home: Path) -> None:
    """The whole study in one process that can import none of WITHOUT."""
    block = f"import sys; sys.modules.update(dict.fromkeys({WITHOUT!r})); from benchmarks.gpu.study import main; "
    done = subprocess.run(
        [sys.executable, "-c", block + "sys.argv[1:] = ['run', '--seconds', '500']; sys.exit(main())"],
        env={**os.environ, "LSR_HOME": str(home), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_in_pieces_equals_in_one_and_the_results_come_back(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    # The process that runs through measures speed for real; in pieces it would take most of the test's time.
    speed = Speed(scale=4.0, seconds=1.0, peak_mib=1.0, parameters=1)
    monkeypatch.setattr("lsr.study.publish.speed_of", lambda *_: [speed])
    one, pieces = at(tmp_path / "one", packed), at(tmp_path / "pieces", packed)
    with pytest.raises(TrainingStoppedError, match="not finished"):
        measurements(one)
    with pytest.raises(NotFoundError, match="the study is not done"):
        command.results(*command.carried(one), here(one, Quiet(), may_make=False), tmp_path / "early")
    said = in_pieces(pieces, monkeypatch)
    through(one.home)
    assert ["after step" in one for one in said] == [True, True, False, False]
    expected = measurements(one)
    assert set(expected) == {"edsr", "published", "published-unaligned", "ours", "ours-unaligned", "ours-1", "ours-4"}
    assert measurements(pieces) == expected

    study, facts = command.carried(pieces)
    ctx = here(pieces, Quiet(), may_make=False)
    paths = command.results(study, facts, ctx, tmp_path / "out")
    assert all(path.stat().st_size <= command.OUT_BYTES for path in paths)
    home = load_settings({"LSR_HOME": str(tmp_path / "back")})
    for path in paths:
        command.take(path, home)
    assert (home.output / "small" / "table.md").read_text().startswith("# Study small")
    for trained in systems(study, refs_of(facts), ctx):
        for label, evaluate in questions(study, trained):
            ref = launch(measure_request(study, trained, label, evaluate, refs_of(facts), ctx.run), ctx).ref
            assert read_measured(here(home, Quiet()).store, ref).evaluation.rows

    for label in ("edsr", "ours"):
        command.weights(study, facts, ctx, label, 1, tmp_path / label)
        index, tensors = read_weights(tmp_path / label)
        trained = next(one for one in systems(study, refs_of(facts), ctx) if one.label == label)
        state = Executor(system_of(ctx.store, trained.inputs)).network.state_dict()
        assert (index["system"], index["seed"]) == (label, 1)
        assert tensors.keys() == state.keys()
        assert all(torch.equal(tensors[n], t.bfloat16().float()) for n, t in state.items() if t.is_floating_point())
    with pytest.raises(InputError, match="has no system liif of seed 1"):
        command.weights(study, facts, ctx, "liif", 1, tmp_path / "none")


def test_training_that_runs_out_of_time_saves_its_state_and_continues(packed: Path, tmp_path: Path) -> None:
    settings = at(tmp_path / "home", packed)
    study, facts = command.carried(settings)
    assert study.edsr is not None
    long = replace(study, edsr=replace(study.edsr, train=replace(study.edsr.train, images=4_000_000)))
    reached = []
    for _ in range(2):
        with pytest.raises(TrainingStoppedError, match="saved its state after step") as stopped:
            run_for(long, refs_of(facts), here(settings, Quiet()), 5.0)
        reached.append(int(str(stopped.value).split("after step ")[1].split()[0]))
    assert 0 < reached[0] < reached[1]


def test_the_packed_file_holds_what_is_needed_and_no_training_photo(packed: Path) -> None:
    facts, members = read(packed)
    assert facts["study"] == NAME
    folders = Counter(name.split("/")[1] for name in members if name.startswith("store/"))
    # A tar and an index each for the tiles and for the measured photos.
    assert folders == {"datasets": 2, "actions": 2, "blobs": 4}
    assert folders.total() == len(members)
    images = refs_of(facts)["shard"]
    manifest = Manifest.from_bytes(members[f"store/{images.path}"], images.path)
    index = read_index(members[f"store/{manifest.shards[0].index}"], "index")
    assert [row.split for row in index] == ["eval"] * small().evaluate.photos


def test_more_than_fits_is_rejected(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "IN_BYTES", 20_000)
    settings = load_settings({"LSR_HOME": str(packed.parent / "again")})
    with pytest.raises(InputError, match=r"Lower tile\.max_per_image or evaluate\.photos"):
        command.pack(NAME, here(settings, Quiet()), tmp_path / "out")
