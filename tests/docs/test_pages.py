"""Every link, command, option, field and file name in the pages for readers is one that exists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import ROOT, anchors, faults, link_faults

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "infra").rglob("README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
# Records of what was run at some commit: what they name may be gone since, where they lead may not.
RECORDS = [ROOT / "CHANGELOG.md", *sorted((ROOT / "docs" / "results").rglob("*.md")), *ROOT.glob("benchmarks/**/*.md")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_names_exists(page: Path) -> None:
    assert faults(page) == []


@pytest.mark.parametrize("page", RECORDS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_a_record_lead_somewhere(page: Path) -> None:
    assert link_faults(page) == []


BROKEN = {
    "[x](docs/nowhere.md)": "leads nowhere",
    "![x](docs/images/nowhere.png)": "leads nowhere",
    "[x](docs/data.md#no-such-heading)": "no heading",
    "[x](#no-such-heading)": "no heading",
    "`lsr/nowhere.py`": "no file or folder",
    "`nowhere.py`": "no file of this repository",
    "`lsr.training.own.Nothing`": "defines no Nothing",
    "`lsr.nowhere.Extended`": "defines no nowhere",
    "`denoise.train.no_such_field`": "no shipped recipe or run",
    "`shard.no_such_field`": "no shipped recipe or run",
    "`*.loss.no_such_field`": "no shipped recipe",
    "`make nowhere`": "no such target",
    "`lsr nowhere --recipe demo`": "no such command",
    "`lsr data nowhere`": "no such command",
    "`lsr retrain --nowhere`": "no such option",
    "`lsr retrain --recipe nowhere`": "nowhere",
    "```sh\nlsr retrain --set joint.train.nowhere=3\n```": "joint.train",
    "```sh\ntrue && lsr upscale photo.jpg \\\n  --nowhere 3\n```": "no such option",
    "```\nlsr shard|nowhere --recipe demo\n```": "no such command",
    "```\nlsr models list|nowhere\n```": "no such command",
    "`lsr retrain --run nowhere`": "nowhere",
    "`lsr joint --recipe demo --set-run train.nowhere=3`": "train.nowhere",
    "`lsr joint --set seed=word`": "seed must be",
    "```sh\npython -m benchmarks.nowhere\n```": "no such module",
    "```sh\nprefect deploy --prefect-file infra/prefect/nowhere.yaml\n```": "no file or folder",
    "```python\nfrom lsr.training.own import Nothing\n```": "defines no Nothing",
}


@pytest.mark.parametrize("text", BROKEN)
def test_what_does_not_exist_is_found(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{text}\n")
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (found,) = faults(page)
    assert BROKEN[text] in found


GOOD = """# Title `code`

[x](#title-code) [y](docs/data.md) [z](https://example.org/nowhere) `NAME` `lsr/core/<name>.py` `report.html`
`lsr.training.own.Extended` `denoise.train.batch` `train.ema` `--set FIELD=VALUE` `lsr --help`

```sh
.venv/bin/lsr retrain --recipe demo --set seed=3   # comment --nowhere
lsr shard|tile --recipe demo [--upstream] ; lsr models list
LSR_HOME=/tmp/x make demo && python -m benchmarks.NAME
```
"""


def test_what_exists_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "page.md").write_text(GOOD)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    assert faults(tmp_path / "page.md") == []


def test_anchors_are_those_of_github() -> None:
    text = "# A `b` c\n## A b: c, d?\n## [Link](x.md) text\n## Same\n## Same\n```\n# no heading\n```\n"
    assert anchors(text) == {"a-b-c", "a-b-c-d", "link-text", "same", "same-1"}
