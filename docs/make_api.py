"""Write docs/api.md from the docstrings of the public surface: `python docs/make_api.py`.

Sources are parsed and never imported, so that the page needs no library and is the same on every machine. What is
public is listed in PUBLIC; a name that is gone from its module ends the script.
"""

from __future__ import annotations

import ast
import inspect
import re
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
        "Upscale and generate",
        "For a system that you built or loaded yourself, without a registry.",
        ("lsr.inference.upscale.upscale", "lsr.inference.generate.generate"),
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
            "lsr.recipes.run.Resources",
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
    for node in ast.parse((ROOT / (ERRORS.replace(".", "/") + ".py")).read_text()).body:
        if isinstance(node, ast.ClassDef):
            own = [ast.unparse(one.value) for one in node.body if isinstance(one, ast.Assign)]
            codes[node.name] = own[0] if own else codes[ast.unparse(node.bases[0])]
            about = " ".join((ast.get_docstring(node) or "").split())
            rows.append(f"| `{node.name}` | {codes[node.name]} | {_cell(about)} |")
    yield "\n".join(rows)


def _entry(name: str) -> Iterator[str]:
    module, _, attribute = name.rpartition(".")
    base = ROOT.joinpath(*module.split("."))
    file = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, Function | ast.ClassDef) and node.name == attribute:
            yield f"### `{name}`"
            yield from _function(node) if isinstance(node, Function) else _class(node)
            return
    raise SystemExit(f"{name} is listed as public and {file.relative_to(ROOT)} does not define it; correct PUBLIC.")


def _function(node: Function) -> Iterator[str]:
    yield f"```python\n{_signature(node)}\n```"
    if found := _doc(node):
        yield found


def _class(node: ast.ClassDef) -> Iterator[str]:
    bases = ", ".join(map(ast.unparse, node.bases))
    if bases:
        yield f"```python\nclass {node.name}({bases}): ...\n```"
    if found := _doc(node):
        yield found
    if rows := list(_fields(node)):
        yield "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows])
    for child in node.body:
        if isinstance(child, Function) and not child.name.startswith("_") and child.name != "faults":
            yield from _function(child)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """One table row per public field; a string below a field, or a `description=` in it, says what it means."""
    for child, after in zip(node.body, [*node.body[1:], None]):
        if isinstance(child, ast.Assign) and isinstance(child.targets[0], ast.Name):
            name, kind, value = child.targets[0].id, "", child.value
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name):
            name, kind, value = child.target.id, ast.unparse(child.annotation), child.value
        else:
            continue
        if name.startswith("_"):
            continue
        meaning = _description(child)
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            meaning = " ".join(after.value.value.split())
        default = f"`{ast.unparse(value)}`" if value is not None else ""
        yield f"| `{name}` | {_cell(f'`{kind}`' if kind else '')} | {_cell(default)} | {_cell(meaning)} |"


def _description(node: ast.AST) -> str:
    for inner in ast.walk(node):
        if isinstance(inner, ast.keyword) and inner.arg == "description" and isinstance(inner.value, ast.Constant):
            return str(inner.value.value)
    return ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _signature(node: Function) -> str:
    """`def name(...) -> type`, one argument per line where it would be long."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    decorators = "".join(f"@{ast.unparse(one)}\n" for one in node.decorator_list)
    short = f"{decorators}def {node.name}({ast.unparse(node.args)}){returns}"
    if len(short) <= 100:
        return f"{short}: ..."
    arguments = ",\n    ".join(_arguments(node.args))
    return f"{decorators}def {node.name}(\n    {arguments},\n){returns}: ..."


def _arguments(args: ast.arguments) -> Iterator[str]:
    """Each argument as source, with the star before those by keyword only."""
    plain = [*args.posonlyargs, *args.args]
    defaults: list[ast.expr | None] = [*[None] * (len(plain) - len(args.defaults)), *args.defaults]
    for arg, default in zip(plain, defaults):
        yield _argument(arg, default)
    if args.vararg or args.kwonlyargs:
        yield f"*{ast.unparse(args.vararg) if args.vararg else ''}"
    for arg, default in zip(args.kwonlyargs, args.kw_defaults):
        yield _argument(arg, default)
    if args.kwarg:
        yield f"**{ast.unparse(args.kwarg)}"


def _argument(arg: ast.arg, default: ast.expr | None) -> str:
    return ast.unparse(arg) + (f" = {ast.unparse(default)}" if default is not None else "")


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
