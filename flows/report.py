"""The report of one run of the pipeline: what was made or reused, durations, the version, the verdict, the metrics.

As a terminal page, as markdown for the Prefect artifact, and as plain data for scripts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.engine.launch import Outcome
from lsr.recipes.schema import Recipe

if TYPE_CHECKING:
    from lsr.engine.context import Context
    from lsr.stages.gate import Judged
    from lsr.stages.infer import Inferred
    from lsr.stages.register import Registered
    from lsr.tools.page import Published

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One line of the time ledger."""

    stage: str
    made: bool
    seconds: float
    path: str


class Report:
    """Filled while the pipeline runs; `show`, `markdown` and `as_dict` at its end."""

    def __init__(self, recipe: Recipe, settings: Settings) -> None:
        self.recipe = recipe
        self.settings = settings
        self.entries: list[Entry] = []
        self.version: Registered | None = None
        self.verdict: Judged | None = None
        self.inference: Inferred | None = None
        self.metrics: list[dict[str, Any]] = []
        self.remarks: list[str] = []
        self.images: list[Path] = []
        self.page: Published | None = None
        self._started = time.monotonic()

    @staticmethod
    def timed(work: Callable[[], T]) -> tuple[T, float, bool]:
        """The result of `work`, its seconds, and whether it says that it was made now."""
        started = time.monotonic()
        result = work()
        return result, time.monotonic() - started, bool(getattr(result, "made", True))

    @property
    def promoted(self) -> bool:
        """Whether this version is champion now; a PASS alone is not enough, another promotion may have won."""
        return self.verdict is not None and "champion" in (self.verdict.alias or "").split(", ")

    def stage(self, outcome: Outcome) -> None:
        """Add a stage of the pipeline."""
        self._add(outcome.stage, outcome.made, outcome.seconds, outcome.ref.path)

    def evaluated(self, ref: Ref, ctx: Context) -> None:
        """Read the metrics table and put the images below the output folder."""
        from lsr.stages.evaluate import export

        table = export(ref, ctx, self.recipe)
        self.metrics, self.remarks, self.images = table.rows, table.remarks, table.images

    def registered(self, version: Registered, seconds: float, made: bool) -> None:
        self.version = version
        self._add("register", made, seconds, f"{version.name} version {version.number}")

    def judged(self, verdict: Judged, seconds: float, made: bool) -> None:
        self.verdict = verdict
        self._add("gate", made, seconds, verdict.decision)

    def inferred(self, result: Inferred, seconds: float, made: bool) -> None:
        self.inference = result
        self._add("infer", made, seconds, result.path)
        self.images = [*self.images, *result.images]

    def published(self, page: Published) -> None:
        """The report page: where it is on this machine and in MLflow."""
        self.page = page

    def _add(self, stage: str, made: bool, seconds: float, path: str) -> None:
        self.entries.append(Entry(stage=stage, made=made, seconds=seconds, path=path))

    def as_dict(self) -> dict[str, Any]:
        """Plain data for scripts."""
        return {
            "recipe": self.recipe.name,
            "store": self.settings.store,
            "seconds": round(time.monotonic() - self._started, 2),
            "stages": [
                {"stage": e.stage, "made": e.made, "seconds": round(e.seconds, 3), "path": e.path} for e in self.entries
            ],
            "version": self.version.as_dict() if self.version else None,
            "verdict": self.verdict.as_dict() if self.verdict else None,
            "inference": self.inference.as_dict() if self.inference else None,
            "metrics": self.metrics,
            "remarks": self.remarks,
            "images": [str(path) for path in self.images],
            "page": self.page.as_dict() if self.page else None,
        }

    def _release_line(self) -> str:
        if self.version is None or self.verdict is None:
            return "nothing was registered"
        alias = self.verdict.alias or "no alias"
        return f"{self.version.name} version {self.version.number} ({alias}), gate {self.verdict.decision}"

    def _metric_names(self) -> list[str]:
        return [name for name in (self.metrics[0] if self.metrics else {}) if name not in ("scale", "system")]

    def markdown(self) -> str:
        """The page that the Prefect artifact shows."""
        lines = [
            f"# {self.recipe.name}: {self._release_line()}",
            "",
            "| stage | how | seconds | result |",
            "|---|---|---|---|",
        ]
        for e in self.entries:
            lines.append(f"| {e.stage} | {'made' if e.made else 'reused'} | {e.seconds:.1f} | `{e.path}` |")
        if self.metrics:
            names = self._metric_names()
            lines += ["", f"| scale | system | {' | '.join(names)} |", "|" + "---|" * (2 + len(names))]
            for row in self.metrics:
                cells = " | ".join(_number(row[name]) for name in names)
                lines.append(f"| {row['scale']:g} | {row['system']} | {cells} |")
        lines += ["", *(f"- {remark}" for remark in self.remarks), *(f"- image: `{path}`" for path in self.images)]
        if self.page is not None:
            lines.append(f"- report page: [report.html]({self.page.link})")
        if self.verdict is not None:
            lines += ["", self.verdict.text]
        return "\n".join(lines) + "\n"

    def show(self) -> None:
        """Print the report on standard output."""
        from rich.console import Console
        from rich.table import Table

        console = Console()
        ledger = Table(title="Time ledger", title_justify="left")
        for column in ("stage", "how", "seconds", "result"):
            ledger.add_column(column, overflow="fold", justify="right" if column == "seconds" else "left")
        for e in self.entries:
            ledger.add_row(e.stage, "made" if e.made else "[dim]reused[/]", f"{e.seconds:.1f}", e.path)
        console.print(ledger)
        if self.metrics:
            console.print(self._metrics_table())
        for remark in self.remarks:
            console.print(f"  {remark}", highlight=False)
        if self.verdict is not None:
            console.print(self.verdict.text, highlight=False, markup=False)
        console.print(f"Store     {self.settings.store}", highlight=False)
        console.print(f"Tracking  {self.settings.mlflow}", highlight=False)
        console.print(f"Model     {self._release_line()}", highlight=False, style="bold")
        for path in self.images:
            console.print(f"Image   {path}", highlight=False, soft_wrap=True)
        if self.page is not None:
            console.print(f"Report    {self.page.path}", highlight=False, soft_wrap=True)
        made = sum(e.made for e in self.entries)
        sent = self.page is not None and self.page.made
        total = time.monotonic() - self._started
        console.print(
            f"{made} of {len(self.entries)} stages made, {len(self.entries) - made} reused, in {total:.1f} s."
            + ("" if made or sent else " Nothing was recomputed and nothing was uploaded."),
            highlight=False,
        )

    def _metrics_table(self) -> Any:
        from rich.table import Table

        names = self._metric_names()
        table = Table(title=f"Held-out images, {self.recipe.task}", title_justify="left")
        table.add_column("scale", justify="right")
        table.add_column("system")
        for name in names:
            table.add_column(name, justify="right")
        for row in self.metrics:
            table.add_row(f"{row['scale']:g}", row["system"], *(_number(row[name]) for name in names))
        return table


def _number(value: float | None) -> str:
    return "not computed" if value is None else f"{value:.3f}"
