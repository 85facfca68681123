"""The import rules of docs/architecture.md, read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("recsys", "feature_store", "experiments", "pipelines")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

MAY_IMPORT = {  # package -> our packages it may import
    "pipelines": {"pipelines", "recsys", "feature_store", "experiments"},
    "recsys": {"recsys", "feature_store", "experiments"},
    "feature_store": {"feature_store"},
    "experiments": {"experiments"},
}
DOORS = {"feature_store": "recsys/features", "experiments": "recsys/serving"}  # the only way from recsys into a leaf
HOMES = {  # heavy library -> folders that may import it
    "ray": ("pipelines",),
    "typer": ("pipelines",),
    "faiss": ("recsys/index",),
    "bm25s": ("recsys/retrieval",),
    "rjieba": ("recsys/retrieval",),
    "lightgbm": ("recsys/ranking",),
    "numba": ("recsys/ranking",),
    "transformers": ("recsys/encoders", "recsys/towers"),
    "peft": ("recsys/training",),
    "lmdb": ("feature_store/online",),
    "redis": ("feature_store/online",),
}
LIBRARY_READS_NO_SETTINGS = {"tomllib", "configparser", "dotenv"}


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Imported modules of a file, and whether the import stands inside a function."""
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inner = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) in inner) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or "", id(node) in inner


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_run_one_way(path: Path) -> None:
    name = relative(path)
    package = name.split("/")[0]
    for module, inside_function in imports(path):
        top = module.split(".")[0]
        if top in PACKAGES:
            assert top in MAY_IMPORT[package], f"{name} imports {module}"
            if package == "recsys" and top in DOORS:
                assert name.startswith(DOORS[top]), f"{name} imports {module}: only {DOORS[top]} may"
        if top in HOMES:
            assert name.startswith(HOMES[top]), f"{name} imports {top}, whose home is {HOMES[top]}"
        if package == "recsys":
            assert top not in LIBRARY_READS_NO_SETTINGS, f"{name} reads a settings file with {top}"
        assert not inside_function, f"{name} imports {module} inside a function"


def test_importing_recsys_loads_no_heavy_library() -> None:
    heavy = ["torch", "faiss", "ray", "lightgbm", "transformers", "polars", "pyarrow", "numpy"]
    code = f"import recsys, sys; print([name for name in {heavy!r} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_no_two_modules_import_each_other() -> None:
    """No circle among our modules, in however many steps."""
    names = {relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in MODULES}
    graph = {name: {module for module, _ in imports(path) if module in names} for name, path in names.items()}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for module in graph[name]:
                visit(module, (*trail, name))
            done.add(name)

    for name in graph:
        visit(name, ())
