"""What the pages for readers claim, checked against the code: links, anchors, commands, options, fields and file names.

`faults(page)` gives one sentence per claim that does not hold. A claim is what stands in a link, in backticks or in a
block of code. Words in capitals (`NAME`, `FIELD=VALUE`) and `<...>` stand for something and are not checked.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from tests.docs.commands import command_faults, field_faults, stands_for

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:^ {4}\S.*\n)+", re.MULTILINE)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
HEADING = re.compile(r"^#+ (.+?)\s*$", re.MULTILINE)
FILE = re.compile(r"[\w.-]+\.(?:py|md|toml|ya?ml|sh|cff|txt|json|html|css|js|png|webp|csv)")
MODULE = re.compile(r"(?:lsr|data_prep|flows|benchmarks|infra)(?:\.\w+)+")

MADE = frozenset(
    {"report.html", "table.md", "table.json", "index.json", "run.json", "scales.json", "psnr.png", "before-after.png"}
    | {"sheet.png", "infra/compose/.env"}
)
"""Files that a run writes or a reader makes; pages name them and they are not in the repository."""

ELSEWHERE = frozenset({"robots.txt", "eval_sr.py"})
"""Files of others: of web servers, of the published code."""


@cache
def tracked() -> frozenset[str]:
    """Every file of the checkout and every folder above one, as paths from the root."""
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, check=True, capture_output=True, text=True).stdout.splitlines()
    files = [file for file in files if (ROOT / file).exists()]
    folders = {str(parent) for file in files for parent in Path(file).parents}
    return frozenset(files) | folders


def faults(path: Path) -> list[str]:
    """One sentence per claim of a page that does not hold."""
    text = path.read_text()
    blocks = [(match[2], match[3]) for match in BLOCK.finditer(text)]
    prose = BLOCK.sub("\n", text)
    blocks += [("", match[0]) for match in INDENTED.finditer(prose)]
    prose = INDENTED.sub("\n", prose)
    found = link_faults(path)
    for code in INLINE.findall(prose):
        found += _code_faults(path, code)
    for language, block in blocks:
        if language in ("", "sh", "bash"):
            found += [fault for line in _logical_lines(block) for fault in _line_faults(line)]
        if language == "python":
            found += _python_faults(block)
    return [f"{path.name}: {fault}" for fault in dict.fromkeys(found)]


def link_faults(path: Path) -> list[str]:
    """One sentence per link of a page that leads nowhere."""
    prose = INDENTED.sub("\n", BLOCK.sub("\n", path.read_text()))
    return [fault for link in LINK.findall(prose) for fault in _link_faults(path, link)]


def _link_faults(path: Path, link: str) -> Iterator[str]:
    if re.match(r"[a-z]+:", link):
        return
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve() if name else path
    if not target.exists():
        yield f"link {link} leads nowhere."
    elif anchor and anchor not in anchors(target.read_text()):
        yield f"link {link}: {target.name} has no heading with that anchor."


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings."""
    out: set[str] = set()
    for heading in HEADING.findall(BLOCK.sub("\n", text)):
        plain = LINK.sub(lambda match: match[0][1 : match[0].index("]")], heading).replace("`", "").strip().lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 1
        while (anchor := slug if number == 1 else f"{slug}-{number - 1}") in out:
            number += 1
        out.add(anchor)
    return out


def _code_faults(path: Path, code: str) -> Iterator[str]:
    words = code.split()
    if words[0] in ("lsr", "make", "python", "prefect") and len(words) > 1:
        yield from _line_faults(code)
    elif len(words) == 1 and code.startswith("*."):
        yield from field_faults(code)
    elif len(words) == 1 and not stands_for(code):
        yield from file_faults(code, path.parent)
        yield from module_faults(code.partition("(")[0])
        yield from field_faults(code)


def file_faults(name: str, folder: Path | None = None) -> Iterator[str]:
    """For what looks like a file or folder of this repository and is none."""
    name = name.partition("#")[0].removesuffix("/")
    first, slash, _ = name.partition("/")
    if name in MADE | ELSEWHERE:
        return
    if slash and (first in tracked() or first == ".."):
        beside = (folder or ROOT) / name
        if not (name in tracked() or beside.exists()):
            yield f"`{name}` is no file or folder of this repository."
    elif not slash and FILE.fullmatch(name) and name not in {Path(file).name for file in tracked()}:
        yield f"`{name}` is no file of this repository, and none that a run is known to make."


def module_faults(name: str) -> Iterator[str]:
    """For a dotted Python name of this repository whose module or attribute is not there."""
    if not MODULE.fullmatch(name) or name.endswith((".py", ".db")):
        return
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        base = ROOT.joinpath(*parts[:end])
        file = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
        if file.is_file():
            break
    else:
        yield f"`{name}`: there is no module of that name."
        return
    # The root package looks its public names up when they are asked for; its stub lists them.
    text = file.read_text() + (file.with_suffix(".pyi").read_text() if file.with_suffix(".pyi").is_file() else "")
    if end < len(parts) and parts[end] not in _names(text):
        yield f"`{name}`: {file.relative_to(ROOT)} defines no {parts[end]}."


def _names(source: str) -> set[str]:
    """What a module defines or imports at its top."""
    out: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            out.add(node.name)
        elif isinstance(node, ast.Assign):
            out |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            out.add(node.target.id)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            out |= {alias.asname or alias.name for alias in node.names}
    return out


def _python_faults(block: str) -> Iterator[str]:
    """For imports of names that this repository does not have."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                yield from module_faults(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield from module_faults(alias.name)


def _logical_lines(block: str) -> Iterator[str]:
    yield from (line.strip() for line in block.replace("\\\n", " ").splitlines() if line.strip())


def _line_faults(line: str) -> Iterator[str]:
    """Faults of every command on one line of a shell."""
    line = re.sub(r"^\$ ", "", line)
    try:
        words = shlex.split(line, comments=True)
    except ValueError:
        return
    command: list[str] = []
    for word in [*words, ";"]:
        if word in (";", "&&", "||", "|"):
            yield from _one(command)
            command = []
        elif word.endswith(";"):
            yield from _one([*command, word[:-1]])
            command = []
        else:
            command.append(word)


def _one(command: list[str]) -> Iterator[str]:
    while command and (re.fullmatch(r"[A-Z_]+=.*", command[0]) or command[0] in ("sudo", "nice", "export")):
        command = command[1:]
    if not command:
        return
    yield from command_faults(command)
    for word in command:
        yield from (fault for fault in file_faults(word) if "/" in word and not stands_for(word))
