"""One awkward image of each kind through every path on which files become arrays: the pixels are the same."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from data_prep.config import ShardConfig
from data_prep.soundness import Sound, inspect
from lsr.core.refs import Ref
from lsr.core.settings import load_settings
from lsr.diffusion.config import SamplerConfig
from lsr.inference.request import Target
from lsr.registry.packaging import SCRIPT, _copy_code
from lsr.stages.evaluate import held_out
from lsr.store import open_store
from lsr.tools import images
from tests.core.awkward import awkward
from tests.data_prep.test_shard import make

FILES = awkward()
RULES = ShardConfig(holdout=1.0)

SERVED = """
import sys
from pathlib import Path
from types import SimpleNamespace

code, folder, out = sys.argv[1:]
sys.path.insert(0, code)
import lsr
assert Path(lsr.__file__).is_relative_to(code), lsr.__file__

import pandas as pd
from lsr.diffusion.config import SamplerConfig
exec(compile((Path(code) / "pyfunc_model.py").read_text(), "pyfunc_model.py", "exec"))
model = LsrModel()
model._upscales = True
model._executor = SimpleNamespace(upscale=lambda image, target, sampler: image, sampler=SamplerConfig())
files = sorted(Path(folder).iterdir())
rows = pd.DataFrame({"image": [file.read_bytes() for file in files], "scale": 1.0})
for file, answer in zip(files, model.predict(None, rows)):
    (Path(out) / file.name).write_bytes(answer)
"""
"""The registered package's own script, run by the package's own code, its network replaced by nothing."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file under the name of its kind."""
    root = tmp_path_factory.mktemp("awkward")
    for name, file in FILES.items():
        (root / f"{name}.{'jpg' if file.data[:3] == bytes.fromhex('ffd8ff') else 'png'}").write_bytes(file.data)
    return root


def pixels(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


@pytest.fixture(scope="module")
def validated() -> dict[str, Sound]:
    """What stage *shard* archives of each file."""
    found = {name: inspect(file.data, RULES) for name, file in FILES.items()}
    assert all(isinstance(one, Sound) for one in found.values()), found
    return found  # type: ignore[return-value]


def test_validation_archives_the_pixels_that_each_file_stands_for(validated: dict[str, Sound]) -> None:
    for name, file in FILES.items():
        found = pixels(validated[name].data)
        assert np.abs(found - file.pixels).max() <= file.within, name


def test_evaluation_reads_what_was_validated(folder: Path, tmp_path: Path, validated: dict[str, Sound]) -> None:
    store = open_store(f"file://{tmp_path / 'store'}")
    manifest, _ = make(store.uri, folder, RULES)
    path = f"{manifest.directory}/{manifest.digest}.json"
    ref = Ref(kind="images", key="0" * 64, digest=manifest.digest, path=path)
    read = dict(held_out(store, ref, tmp_path / "cache"))
    kinds: dict[str, set[str]] = {}
    for name, found in validated.items():
        key = next(key for key in read if found.content.startswith(key.partition("-")[0]))
        kinds.setdefault(key, set()).add(name)
        assert np.array_equal(read[key], pixels(found.data)), name
    assert len(read) == len({found.content for found in validated.values()}) == len(kinds)


def test_the_command_line_loads_the_same_pixels(
    folder: Path, tmp_path: Path, validated: dict[str, Sound], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = type("Version", (), {"digest": "0" * 64, "__str__": lambda self: "m/1"})()
    executor = SimpleNamespace(upscale=lambda image, target, sampler: image, sampler=SamplerConfig())
    monkeypatch.setattr(images, "load_named", lambda *_: (executor, version))
    settings = load_settings({"LSR_HOME": str(tmp_path / "home")})
    for path in folder.iterdir():
        out = tmp_path / f"{path.stem}.png"
        report = images.upscale_file(settings, "m@champion", path, out, Target(scale=1.0), {})
        assert np.array_equal(pixels(out.read_bytes()), pixels(validated[path.stem].data)), path.stem
        assert report["converted"] == list(validated[path.stem].changes)


def test_the_registered_package_alone_loads_the_same_pixels(
    folder: Path, tmp_path: Path, validated: dict[str, Sound]
) -> None:
    import lsr.registry

    code, out = tmp_path / "code", tmp_path / "out"
    code.mkdir()
    out.mkdir()
    _copy_code(code / "lsr")
    shutil.copy(Path(lsr.registry.__file__).with_name(SCRIPT), code)
    command = [sys.executable, "-c", SERVED, str(code), str(folder), str(out)]
    # Started where no other lsr can be found first.
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    for path in folder.iterdir():
        assert np.array_equal(pixels((out / path.name).read_bytes()), pixels(validated[path.stem].data)), path.stem
