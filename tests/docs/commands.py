"""Commands as pages write them, held against the command line, the Makefile, the modules and the recipes' fields."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from lsr.cli.main import app
from lsr.core.errors import LsrError
from lsr.recipes import BUILT_IN, load_recipe
from lsr.recipes.run import BUILT_IN as RUNS
from lsr.recipes.run import load_run
from lsr.recipes.schema import Recipe

ROOT = Path(__file__).parents[2]
FIELD = re.compile(r"[a-z]\w*(?:\.\w+|\[\d+\])+")


def stands_for(word: str) -> bool:
    """Whether a word is a placeholder: `NAME`, `<key>`, `FIELD=VALUE`, `-published`, `...`."""
    return bool(re.search(r"[<>*…{}]|\.\.\.", word) or re.fullmatch(r"[A-Z_]+(=[A-Z_]+)?(\.\.\.)?|-[a-z]+", word))


def command_faults(words: list[str]) -> Iterator[str]:
    """For a command that could not be started as it is written."""
    program = words[0].rpartition("/")[2]
    if program == "lsr":
        yield from _lsr(words[1:])
    elif program == "make":
        yield from (f"`make {word}`: the Makefile has no such target." for word in words[1:2] if word not in targets())
    elif program.startswith("python") and words[1:2] == ["-m"] and len(words) > 2:
        yield from _module(words[2])
    elif program.startswith("python") and words[1:2] and words[1].endswith(".py") and not (ROOT / words[1]).is_file():
        yield f"`python {words[1]}`: there is no such file."


@cache
def targets() -> frozenset[str]:
    """The Makefile's targets."""
    return frozenset(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _module(name: str) -> Iterator[str]:
    if name.rpartition(".")[2].isupper() or stands_for(name):
        return
    try:
        found = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        yield f"`python -m {name}`: there is no such module."


def _lsr(words: list[str]) -> Iterator[str]:
    """`a|b|c` names several commands; what follows belongs to each."""
    group: TyperGroup | TyperCommand = typer.main.get_command(app)
    names = ["lsr"]
    while isinstance(group, TyperGroup) and words and not words[0].startswith("-"):
        options = words[0].split("|")
        for option in options:
            if option not in group.commands and not stands_for(option):
                yield f"`{' '.join(names)} {option}`: there is no such command."
        if options[0] not in group.commands:
            return
        names.append(options[0])
        group, words = group.commands[options[0]], words[1:]
    yield from _options(" ".join(names), group, [word.strip("[]") for word in words])


def _options(name: str, command: TyperGroup | TyperCommand, words: list[str]) -> Iterator[str]:
    known = {flag: option for option in command.params for flag in (*option.opts, *option.secondary_opts)}
    given: dict[str, list[str]] = {}
    rest = iter(words)
    for word in rest:
        flag, equals, value = word.partition("=")
        if not flag.startswith("-") or flag == "-":
            continue
        if flag not in known:
            yield from () if flag in ("--help", "-h") else (f"`{name} {flag}`: there is no such option.",)
            continue
        option = known[flag]
        if isinstance(option, TyperOption) and option.is_flag:
            continue
        given.setdefault(option.opts[0], []).append(value if equals else next(rest, ""))
    yield from _values(name, given)


def _values(name: str, given: Mapping[str, list[str]]) -> Iterator[str]:
    """For a recipe or run that does not exist, and an override that it would reject."""
    recipe, run = given.get("--recipe", ["demo"])[0], given.get("--run", ["laptop"])[0]
    try:
        if not stands_for(recipe) and ":" not in recipe and name != "lsr study":
            load_recipe(recipe, _pairs(given.get("--set", [])))
        if not stands_for(run) and ":" not in run:
            load_run(run, _pairs(given.get("--set-run", [])))
    except LsrError as error:
        yield f"`{name}`: {error}"


def _pairs(assignments: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in assignments if not stands_for(text)]
    return {field: value for field, _, value in pairs if not re.search("[A-Z]{4,}", value)}


def field_faults(code: str) -> Iterator[str]:
    """For a dotted name that begins as a field of a recipe or run and is none, as `train.batches`. `*.` stands for any
    stage.
    """
    name, _, _ = code.partition("=")
    if name.startswith("*."):
        tail = tuple(name.split(".")[1:])
        if not any(path[-len(tail) :] == tail for path in _paths()):
            yield f"`{name}`: no shipped recipe has a field that ends so."
        return
    tops = {field.name for field in fields(Recipe)} | {"train"}
    if not FIELD.fullmatch(name) or re.split(r"[.\[]", name)[0] not in tops:
        return
    parts = [part for part in re.split(r"[.\[\]]+", name) if part and not part.isdigit()]
    if tuple(parts) not in _paths():
        yield f"`{name}`: no shipped recipe or run has such a field."


@cache
def _paths() -> frozenset[tuple[str, ...]]:
    """Every field of every shipped recipe and run as a path; those of a training also without its stage's name."""
    found = {path for name in BUILT_IN for path in _below(load_recipe(name))}
    found |= {path[1:] for path in found if path[1:2] == ("train",)}
    return frozenset(found.union(*(_below(load_run(name)) for name in RUNS)))


def _below(value: object) -> Iterator[tuple[str, ...]]:
    if is_dataclass(value):
        for field in fields(value):
            yield (field.name,)
            yield from ((field.name, *path) for path in _below(getattr(value, field.name)))
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _below(one)
