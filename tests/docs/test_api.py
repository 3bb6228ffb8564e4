"""docs/api.md is what the docstrings say today."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
assert spec is not None
assert spec.loader is not None
make_api = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_api)


def test_the_page_is_up_to_date() -> None:
    assert make_api.PAGE.read_text() == make_api.page(), "run `python docs/make_api.py` and commit docs/api.md"


def test_every_public_function_and_class_says_what_it_does() -> None:
    names = [name for _, _, names in make_api.PUBLIC for name in names]
    entries = make_api.page().partition("## Errors")[0].split("\n### ")[1:]
    silent = [name for name, entry in zip(names, entries) if not re.search(r"^[A-Za-z`][^|]*\.$", entry, re.MULTILINE)]
    assert len(entries) == len(names)
    assert silent == []


def test_a_name_that_is_gone_ends_the_script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make_api, "PUBLIC", (("T", "about", ("lsr.training.own.Gone",)),))
    with pytest.raises(SystemExit, match="does not define it"):
        make_api.page()
