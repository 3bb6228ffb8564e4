"""The built wheel, installed elsewhere, is the whole product: command, recipes, photos, credits."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (built,) = out.glob("lsr-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new virtual environment that holds the wheel and nothing else of its own.

    Its dependencies are those of the environment that runs the tests, read through a path file: packages that were
    installed for editing are not found that way, because path files inside that folder are not followed.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=120)
    own = next((folder / "lib").glob("python*")) / "site-packages"
    (own / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, timeout=120, cwd=folder)
    return folder / "bin"


def run(command: list[str], home: Path) -> subprocess.CompletedProcess[str]:
    """Run outside the checkout, with nothing of it on the path."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        command, cwd=home, env={**env, "LSR_HOME": str(home / "lsr")}, capture_output=True, text=True, timeout=200
    )


def document(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def test_the_wheel_holds_the_product_and_not_the_workshop(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {"lsr", "flows", "data_prep"} == {top for top in tops if not top.endswith(".dist-info")}
    photos = [name for name in names if name.startswith("lsr/assets/photos/")]
    assert len([name for name in photos if name.endswith(".jpg")]) == 19
    shipped = ("lsr/assets/models/photo.safetensors", "lsr/assets/models/README.md")
    for name in ("lsr/assets/photos/CREDITS.md", "lsr/assets/thumbnails/CREDITS.md", "lsr/recipes/demo.py", *shipped):
        assert name in names
    assert {"lsr/report/page.html", "lsr/report/page.css", "lsr/report/page.js"} <= set(names)
    assert {name.rsplit("/", 1)[-1] for name in names if ".dist-info/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_the_command_works_outside_the_checkout(installed: Path, tmp_path: Path) -> None:
    where = run([str(installed / "python"), "-c", "import lsr, flows, data_prep; print(lsr.__file__)"], tmp_path)
    assert where.stdout.startswith(str(installed.parent)), where.stderr
    assert "retrain" in run([str(installed / "lsr"), "--help"], tmp_path).stdout
    findings = document(run([str(installed / "lsr"), "doctor", "--json"], tmp_path))
    assert all(row["ok"] for row in findings)
    assert {row["part"] for row in findings} >= {"packages", "store", "tracking"}


def test_recipes_and_photos_came_with_it(installed: Path, tmp_path: Path) -> None:
    sets = document(run([str(installed / "lsr"), "data", "sets", "--json"], tmp_path))
    assert {"photos", "thumbnails"} <= {row["name"] for row in sets}
    for name, count in (("photos", 19), ("thumbnails", 5)):
        facts = document(run([str(installed / "lsr"), "data", "show", f"set:{name}", "--json"], tmp_path))
        assert facts["counts"] == {"files": count, "sound": count, "rejected": 0, "duplicates": 0}
    for recipe in ("demo", "short-generate"):
        asked = run([str(installed / "lsr"), "tile", "--recipe", recipe], tmp_path)
        assert asked.returncode == 4
        assert f"run `lsr shard --recipe {recipe}` first" in asked.stderr
