"""What software a process runs is read, not guessed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

import lsr
from lsr.core.software import commit, packages_digest, versions


def test_the_commit_is_that_of_this_checkout_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    installed = tmp_path / "site-packages" / "lsr"
    installed.mkdir(parents=True)
    monkeypatch.setattr(lsr, "__file__", str(installed / "__init__.py"))
    assert commit() is None, "a wheel inside somebody's repository is not of that repository's commit"
    monkeypatch.setattr(lsr, "__file__", str(tmp_path / "lsr" / "__init__.py"))
    sha = commit()
    assert sha is not None
    assert (len(sha), set(sha) <= set("0123456789abcdef")) == (40, True)
    (installed / "new.py").touch()
    assert commit() == f"{sha}-dirty"
    monkeypatch.setenv("PATH", "")
    assert commit() is None


def test_packages_are_named_by_one_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    before = packages_digest()
    assert before == packages_digest()
    assert {"lsr", "python", "torch"} <= versions().keys()
    from importlib import metadata

    monkeypatch.setattr(metadata, "distributions", lambda: iter(()))
    assert packages_digest() != before
