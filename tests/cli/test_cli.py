"""The command line: light to start, one sentence and an exit code for what a user can cause."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


def lsr(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `lsr` as a user does, in a process of its own."""
    code = "from lsr.cli import main; main()"
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)


def test_help_loads_neither_torch_nor_a_service() -> None:
    code = (
        "import sys\nsys.argv = ['lsr', '--help']\nfrom lsr.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'ray', 'mlflow', 'prefect', 'boto3', 'numpy', 'pandas'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "retrain" in out.stdout
    assert "HEAVY []" in out.stdout, out.stdout[-300:] + out.stderr


@pytest.mark.parametrize(
    ("words", "exit_code", "said"),
    [
        (["retrain", "--recipe", "no-such"], 2, "There is no recipe 'no-such'"),
        (["tile", "--set", "tile.sise=3"], 2, "tile.sise is not a recipe field"),
        (["tile", "--set", "tile.size=0"], 2, "tile.size must be greater than or equal to 1"),
        (["tile", "--set", "nonsense"], 2, "--set takes FIELD=VALUE"),
        (["tile", "--recipe", "demo"], 4, "run `lsr shard --recipe demo` first"),
        (["generate", "--size", "0x5"], 3, "A size is WIDTHxHEIGHT"),
        (["upscale", "/no/such.png", "--scale", "2", "-o", "o.png"], 4, "/no/such.png"),
        (["data", "verify", "datasets/x/y.json"], 4, "datasets/x/y.json"),
        (["data", "get", "no-such-set"], 4, "no-such-set"),
        (["no-such-command"], 2, "No such command 'no-such-command'"),
        (["tile", "--no-such-option"], 2, "No such option: --no-such-option"),
        (["generate", "--count", "0"], 2, "should be greater than or equal to 1"),
        ([], 2, ""),
    ],
)
def test_a_mistake_gets_one_sentence_and_an_exit_code(words: list[str], exit_code: int, said: str) -> None:
    out = lsr(*words)
    assert out.returncode == exit_code, out.stderr
    assert said in out.stderr.replace("\n", " ")
    assert "Traceback" not in out.stderr


@pytest.mark.parametrize("scale", ["0", "nan", "-2", "inf"])
def test_a_scale_that_is_no_scale_is_rejected_before_a_model_is_looked_for(scale: str, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    out = lsr("upscale", str(tmp_path / "a.png"), f"--scale={scale}", "-o", str(tmp_path / "o.png"))
    assert out.returncode == 3
    assert "scale must be a finite number above 0" in out.stderr
    assert not (tmp_path / "o.png").exists()


def test_an_empty_folder_and_a_folder_without_images_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("hello")
    for folder in ("empty", "texts"):
        out = lsr("shard", "--set", f"source.uri={tmp_path / folder}", "--set", "source.name=mine")
        assert out.returncode == 3, out.stderr
        assert str(tmp_path / folder) in out.stderr.replace("\n", "")


def test_json_is_one_document() -> None:
    out = lsr("data", "sets", "--json")
    assert {"photos", "thumbnails", "lpips"} <= {row["name"] for row in json.loads(out.stdout)}
