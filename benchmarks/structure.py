"""Figures of the code's structure, one column per commit: `python -m benchmarks.structure dadcd9b HEAD`.

Counted in the Python files below `lsr`, `data_prep` and `flows` of a commit, without running any of it:

- packages: folders with Python files in them.
- lines: of files, blank lines and docstrings included.
- late imports: import statements inside functions; those for type checkers alone are not counted.
- circles: groups of packages, and of modules, that import each other, over late imports too.
- comments: comment lines and comments at the end of a line, per 100 lines; pragmas (`# type:`, `# noqa`) do not count.
- arguments: functions that take 7 or more, `self` and `cls` not counted.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import tarfile
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath
from statistics import median

ROOTS = ("lsr", "data_prep", "flows")
MANY = 7
PRAGMAS = ("# type:", "# noqa", "#!")
Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is counted of one commit, in the order of the table."""

    packages: int
    files: int
    lines: int
    median_lines: int
    largest: str
    late_imports: int
    package_circles: str
    module_circles: str
    comments_per_100_lines: float
    functions: int
    functions_over_40_lines: int
    functions_with_7_or_more_arguments: int


def sources(commit: str) -> dict[str, str]:
    """Module name -> source, of every Python file of a commit. Raises CalledProcessError for an unknown commit."""
    listed = subprocess.run(["git", "ls-tree", "--name-only", commit], check=True, capture_output=True, text=True)
    there = [root for root in ROOTS if root in listed.stdout.split()]
    packed = subprocess.run(["git", "archive", commit, *there], check=True, capture_output=True).stdout
    found = {}
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive.getmembers():
            path = PurePosixPath(member.name)
            data = archive.extractfile(member) if path.suffix == ".py" else None
            if data is not None:
                parts = path.with_suffix("").parts
                found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = data.read().decode()
    return found


def figures(modules: Mapping[str, str]) -> Figures:
    """Count. modules: source by module name; a package's `__init__` has the package's name."""
    trees = {name: ast.parse(source) for name, source in modules.items()}
    packages = {name: _package(name, modules) for name in modules}
    edges = {name: set(_imports(tree, name, modules)) for name, tree in trees.items()}
    between: dict[str, set[str]] = {package: set() for package in packages.values()}
    for name, found in edges.items():
        between[packages[name]] |= {packages[one] for one in found} - {packages[name]}
    lengths = {name: len(source.splitlines()) for name, source in modules.items()}
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, Function)]
    lines = sum(lengths.values())
    largest = max(lengths, key=lambda name: lengths[name])
    return Figures(
        packages=len(set(packages.values())),
        files=len(modules),
        lines=lines,
        median_lines=round(median(lengths.values())),
        largest=f"{largest}, {lengths[largest]}",
        late_imports=sum(late for tree in trees.values() for late in _late(tree)),
        package_circles=_shown(circles(between)),
        module_circles=_shown(circles(edges)),
        comments_per_100_lines=round(100 * sum(map(_comments, modules.values())) / lines, 1),
        functions=len(functions),
        functions_over_40_lines=sum(_length(node) > 40 for node in functions),
        functions_with_7_or_more_arguments=sum(_arguments(node) >= MANY for node in functions),
    )


def _package(module: str, modules: Mapping[str, str]) -> str:
    """The folder a module's file lies in: the module itself where others lie below it."""
    inside = any(other.startswith(f"{module}.") for other in modules)
    return module if inside or "." not in module else module.rpartition(".")[0]


def _imports(tree: ast.AST, module: str, modules: Mapping[str, str]) -> Iterator[str]:
    """Every other module of `modules` that a tree imports, by the most exact name."""
    for node in _walk_real(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            exact = name if name in modules else name.rpartition(".")[0]
            if exact in modules and exact != module:
                yield exact


def _walk_real(node: ast.AST) -> Iterator[ast.AST]:
    """`ast.walk` without what is there for type checkers alone."""
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk_real(child)


def _late(tree: ast.AST, inside: bool = False) -> Iterator[int]:
    """1 per import statement inside a function."""
    for child in ast.iter_child_nodes(tree):
        if inside and isinstance(child, ast.Import | ast.ImportFrom):
            yield 1
        yield from _late(child, inside or isinstance(child, Function))


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of two or more nodes that reach each other (strongly connected components), sorted."""
    reach = {node: _reached(node, edges) for node in edges}
    groups = {tuple(sorted(other for other in reach[node] if node in reach[other])) for node in edges}
    return sorted(list(group) for group in groups if len(group) > 1)


def _reached(start: str, edges: Mapping[str, set[str]]) -> set[str]:
    found, open_ = set[str](), [start]
    while open_:
        for one in edges[open_.pop()]:
            if one not in found:
                found.add(one)
                open_.append(one)
    return found


def _shown(groups: list[list[str]]) -> str:
    return "; ".join(" <-> ".join(group) for group in groups) or "none"


def _comments(source: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return sum(token.type == tokenize.COMMENT and not token.string.startswith(PRAGMAS) for token in tokens)


def _length(node: Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _arguments(node: Function) -> int:
    plain = [*node.args.posonlyargs, *node.args.args]
    own = bool(plain) and plain[0].arg in ("self", "cls")
    return len(plain) + len(node.args.kwonlyargs) - own


def table(columns: Mapping[str, Figures]) -> str:
    """Markdown with one column per commit."""
    head = ["", *columns]
    lines = [head, ["---"] * len(head)]
    for field in fields(Figures):
        values = [getattr(found, field.name) for found in columns.values()]
        lines.append([field.name.replace("_", " "), *(f"{v:,}" if isinstance(v, int) else f"{v}" for v in values)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commits", nargs="+", help="anything that git understands; uncommitted changes are not seen")
    print(table({commit: figures(sources(commit)) for commit in parser.parse_args().commits}))


if __name__ == "__main__":
    main()
