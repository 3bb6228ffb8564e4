"""The figures of the code's structure, on code small enough to count by hand."""

from __future__ import annotations

from benchmarks.structure import circles, figures, table

MODULES = {
    "p": '"""Package."""\n',
    "p.a": (
        "import os\nfrom p.low import x  # why\n\n\ndef f(a, b, c, d, e, *, g, h):\n    from q import z\n    return z\n"
    ),
    "p.low": '"""Docs."""\n# one\nx = 1  # type: ignore\n',
    "q": (
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from p.low import x\n\n\n"
        "class Q:\n    def f(self, a, b, c, d, e, f):\n        import p.a\n"
    ),
}


def test_every_figure_is_what_a_reader_counts() -> None:
    found = figures(MODULES)
    assert (found.packages, found.files, found.lines) == (2, 4, 20)
    assert found.largest == "q, 9"
    assert found.late_imports == 2
    assert found.module_circles == "p.a <-> q"
    assert found.package_circles == "p <-> q"
    assert found.comments_per_100_lines == 10.0
    assert (found.functions, found.functions_with_7_or_more_arguments, found.functions_over_40_lines) == (2, 1, 0)


def test_what_is_there_for_type_checkers_makes_no_circle() -> None:
    only_types = {**MODULES, "q": MODULES["q"].replace("import p.a", "pass")}
    assert figures(only_types).module_circles == "none"


def test_circles_are_groups_that_reach_each_other() -> None:
    edges = {"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}, "e": {"f"}, "f": {"e"}}
    assert circles(edges) == [["a", "b", "c"], ["e", "f"]]


def test_the_table_has_a_column_per_commit() -> None:
    lines = table({"before": figures(MODULES), "after": figures({"p": MODULES["p"]})}).splitlines()
    assert lines[0] == "|  | before | after |"
    assert lines[3] == "| files | 4 | 1 |"
