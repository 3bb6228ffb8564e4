"""Write docs/api.md from the docstrings of the public surface: `python docs/make_api.py`.

Sources are parsed and never imported, so that the page needs no library and is the same on every machine. What is
public is listed in PUBLIC; a name that is gone from its module ends the script.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ERRORS = "lsr.core.errors"
PAGE = ROOT / "docs" / "api.md"
Function = ast.FunctionDef | ast.AsyncFunctionDef

PUBLIC = (
    (
        "Load a version",
        "`lsr.load` is `lsr.tools.loading.load`. The README has a complete example.",
        ("lsr.tools.loading.load", "lsr.tools.loading.LoadedModel"),
    ),
    (
        "Images and executors",
        "Files to arrays and back; and for a system that you built or loaded yourself, without a registry.",
        (
            "lsr.inference.images.load_image",
            "lsr.inference.images.save_image",
            "lsr.inference.executor.Executor",
            "lsr.inference.request.Target",
            "lsr.inference.config.ExecutorConfig",
        ),
    ),
    (
        "Recipes",
        "A recipe is a function without arguments that returns a `Recipe`. `lsr recipe fields` prints every field, "
        "also those of the configs inside, with range and default.",
        (
            "lsr.recipes.load_recipe",
            "lsr.recipes.schema.Recipe",
            "lsr.recipes.schema.AutoencoderStage",
            "lsr.recipes.schema.DecoderStage",
            "lsr.recipes.schema.DenoiseStage",
            "lsr.recipes.schema.JointStage",
            "lsr.recipes.schema.InferConfig",
            "lsr.training.config.TrainConfig",
            "lsr.diffusion.config.SamplerConfig",
            "lsr.recipes.study.StudyConfig",
        ),
    ),
    (
        "Runs",
        "How a recipe is carried out. A run is a function without arguments that returns a `Run`.",
        (
            "lsr.recipes.run.load_run",
            "lsr.recipes.run.Run",
            "lsr.recipes.run.TrainRun",
            "lsr.recipes.run.MapRun",
            "lsr.core.resources.Resources",
            "lsr.training.config.Cadence",
        ),
    ),
    (
        "Stages",
        "What the commands and the flow call.",
        (
            "lsr.engine.context.open_context",
            "lsr.engine.context.Context",
            "lsr.engine.pipeline.run_stage",
            "lsr.engine.table.Stage",
            "lsr.engine.pipeline.finished_inputs",
        ),
    ),
    (
        "Objectives",
        "A loss of your own: derive from `Extended`, override `loss`, and name the class in a recipe, for example "
        "`joint.train.objective`.",
        ("lsr.training.own.Extended", "lsr.training.protocols.Objective", "lsr.training.protocols.Draws"),
    ),
)


def page() -> str:
    """The whole page."""
    parts = ["# API", "The public surface, from the docstrings by `python docs/make_api.py`; do not edit this page."]
    for title, about, names in PUBLIC:
        parts += [f"## {title}", about]
        for name in names:
            parts += _entry(name)
    return "\n\n".join([*parts, *_errors()]) + "\n"


def _errors() -> Iterator[str]:
    """One table of every error class with its exit code; one without a code of its own has that of its base."""
    yield "## Errors"
    yield f"`{ERRORS}`: what a user, an input or the surroundings can cause. The command line exits with the code."
    rows, codes = ["| error | code | when |", "|---|---|---|"], dict[str, str]()
    text = (ROOT / (ERRORS.replace(".", "/") + ".py")).read_text()
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef):
            own = [_source(one.value, text) for one in node.body if isinstance(one, ast.Assign)]
            codes[node.name] = own[0] if own else codes.get(_source(node.bases[0], text), "")
            about = " ".join((ast.get_docstring(node) or "").split())
            rows.append(f"| `{node.name}` | {codes[node.name]} | {_cell(about)} |")
    yield "\n".join(rows)


def _entry(name: str) -> Iterator[str]:
    module, _, attribute = name.rpartition(".")
    base = ROOT.joinpath(*module.split("."))
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    text = file.read_text()
    for node in ast.parse(text).body:
        if isinstance(node, Function | ast.ClassDef) and node.name == attribute:
            yield f"### `{name}`"
            yield from _function(node, text) if isinstance(node, Function) else _class(node, text)
            return
    raise SystemExit(f"{name} is listed as public and {file.relative_to(ROOT)} does not define it; correct PUBLIC.")


def _function(node: Function, text: str) -> Iterator[str]:
    yield f"```python\n{_signature(node, text)}\n```"
    if found := _doc(node):
        yield found


def _class(node: ast.ClassDef, text: str) -> Iterator[str]:
    bases = ", ".join(_source(base, text) for base in node.bases)
    if bases:
        yield f"```python\nclass {node.name}({bases}): ...\n```"
    if found := _doc(node):
        yield found
    if rows := list(_fields(node, text)):
        yield "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows])
    for child in node.body:
        if isinstance(child, Function) and not child.name.startswith("_") and child.name != "faults":
            yield from _function(child, text)


def _fields(node: ast.ClassDef, text: str) -> Iterator[str]:
    """One table row per public field; a string below a field, or a `description=` in it, says what it means."""
    for child, after in zip(node.body, [*node.body[1:], None]):
        if isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Name):
            name, kind, value = child.targets[0].id, "", child.value
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            name, kind, value = child.target.id, _source(child.annotation, text), child.value
        else:
            continue
        if name.startswith("_"):
            continue
        meaning = _description(child)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            meaning = " ".join(after.value.value.split())
        default = f"`{_source(value, text)}`" if value is not None else ""
        yield f"| `{name}` | {_cell(f'`{kind}`' if kind else '')} | {_cell(default)} | {_cell(meaning)} |"


def _description(node: ast.AST) -> str:
    for inner in ast.walk(node):
        if isinstance(inner, ast.keyword) and inner.arg == "description" and isinstance(inner.value, ast.Constant):
            return str(inner.value.value)
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _signature(node: Function, text: str) -> str:
    """The lines of the source up to the body, so that they are formatted as the source is."""
    first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
    inline = node.body[0].lineno == node.lineno
    lines = text.splitlines()[first - 1 : node.body[0].lineno - (0 if inline else 1)]
    found = textwrap.dedent("\n".join(lines)).rstrip()
    return found if inline else f"{found} ..."


def _source(node: ast.AST | None, text: str) -> str:
    """An expression as the source has it, on one line."""
    return "" if node is None else " ".join((ast.get_source_segment(text, node) or "").split())


def _doc(node: Function | ast.ClassDef) -> str:
    """The docstring as Markdown: a line `name: meaning` becomes an item of a list."""
    text = inspect.cleandoc(ast.get_docstring(node) or "")
    out: list[str] = []
    for line in text.splitlines():
        item = re.match(r"[a-z_]+(, [a-z_]+)*: ", line) is not None
        inside = bool(out) and out[-1].startswith(("- ", "  ")) and line and not item
        if item and out and out[-1] and not out[-1].startswith(("- ", "  ")):
            out.append("")
        if inside and line.startswith(("Raises ", "Returns ")):
            out.append("")
            inside = False
        out.append(f"- {line}" if item else f"  {line}" if inside else line)
    return "\n".join(out)


if __name__ == "__main__":
    PAGE.write_text(page())
