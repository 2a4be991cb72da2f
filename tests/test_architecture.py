"""The floors of the house, read from the syntax trees: an import may only go down, and rooms on one floor do not import each other.

This file holds the table. A negative control plants wrong code in a copy of the package and expects each piece to be caught.
"""

import ast
import functools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    6: ["jobs", "__main__"],
    5: ["stopping", "options", "label_cli", "step_cli", "cli"],  # in order, as the ground floor
    4: ["cluster"],
    3: ["loop", "config", "report"],
    2: ["readers", "encoders", "training", "scoring"],
    1: ["corpus", "labels", "losses", "networks", "retrieval", "runs", "strategies"],
    0: ["errors", "component", "types", "object_store", "storage", "geometry"],  # the ground floor is in order: each may import those before it
}
FLOOR_OF = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
ORDERED = {0, 5}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "core"}

MAY_IMPORT = {
    "ray": {"cluster"},
    "torch": {"networks", "losses", "retrieval", "training", "scoring", "encoders", "cluster"},
    "pyarrow": {"storage", "corpus", "labels", "runs", "readers", "scoring", "cluster", "report"},
    "hnswlib": {"geometry"},
    "obstore": {"object_store"},
    "pandas": set(),
    "xmr_ray.corpus.truth": {"corpus", "cluster", "cli", "step_cli"},  # hidden labels: for checking, the oracle's look-up and the evaluation only
}

MAX_LINES = 320
# file of the package -> why no test mirrors it
UNMIRRORED: dict[str, str] = {"xmr_ray/__main__.py": "hands over to the verbs; every test that starts a driver runs it"}


def room_of(name: str) -> str:
    """The folder or file directly below the package, or `jobs`; the package itself is ''."""
    parts = name.split("/")
    if parts[0] == "jobs":
        return "jobs"
    return parts[1] if len(parts) > 2 else parts[1].removesuffix(".py").removeprefix("__init__")


def imported_modules(tree: ast.Module, package: tuple[str, ...]) -> set[str]:
    """Full names of everything that a file imports: at any depth, under TYPE_CHECKING, relative, and by a literal `import_module`."""
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            modules |= {".".join([*above, *([node.module] if node.module else []), alias.name]) for alias in node.names}
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in {"import_module", "__import__"}:
            modules |= {argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)}
    return modules


def wrong_import(room: str, module: str) -> str | None:
    """Why a room may not import a module; None if it may."""
    for restricted, rooms in MAY_IMPORT.items():
        if (module + ".").startswith(restricted + ".") and room not in rooms:
            return f"{restricted} is for {sorted(rooms) or 'nobody'}"
    parts = module.split(".")
    if parts[0] != "xmr_ray":
        return None
    target = parts[1] if len(parts) > 1 else ""
    if target == "":
        return "import rooms by their names"
    if target.startswith("__") or target == room:  # the package's own version
        return None
    if target not in FLOOR_OF:
        return f"{target} has no floor"
    if room == "":
        return "the package itself imports no room"
    if FLOOR_OF[target] > FLOOR_OF[room]:
        return f"upwards, from floor {FLOOR_OF[room]} to floor {FLOOR_OF[target]}"
    if FLOOR_OF[target] == FLOOR_OF[room]:
        rooms = FLOORS[FLOOR_OF[room]]
        if FLOOR_OF[room] not in ORDERED or rooms.index(target) > rooms.index(room):
            return f"sideways on floor {FLOOR_OF[room]}"
    return None


@functools.cache
def file_violations(name: str, text: str) -> tuple[str, ...]:
    """What one file breaks, one line each; `name` is its path below the root."""
    room, path = room_of(name), PurePosixPath(name)
    found = []
    if FORBIDDEN_NAMES & {part.removesuffix(".py") for part in path.parts}:
        found.append(f"{name}: a name that says nothing")
    if room and room not in FLOOR_OF:
        return (*found, f"{name}: no floor for {room}")
    tree = ast.parse(text, name)
    for module in sorted(imported_modules(tree, path.parent.parts)):
        if reason := wrong_import(room, module):
            found.append(f"{name}: imports {module}: {reason}")
    prints = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"]
    found += [f"{name}:{line}: print" for line in prints]
    if len(text.splitlines()) > MAX_LINES:
        found.append(f"{name}: longer than {MAX_LINES} lines")
    if ast.get_docstring(tree) is None:
        found.append(f"{name}: no docstring")
    return tuple(found)


def violations(root: Path) -> list[str]:
    """Everything in the package and in jobs/ that breaks a rule of the house, one line each."""
    paths = sorted([*root.glob("xmr_ray/**/*.py"), *root.glob("jobs/**/*.py")])
    found = [line for path in paths for line in file_violations(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))]
    folders = {path.parent for path in paths if path.relative_to(root).parts[0] != "jobs"}
    return found + [f"{folder.relative_to(root)}: no __init__.py" for folder in sorted(folders) if not (folder / "__init__.py").exists()]


def test_the_house_stands():
    assert violations(ROOT) == []


def test_every_file_has_its_test():
    mirrored = {}
    for path in sorted(ROOT.glob("xmr_ray/**/*.py")):
        if path.name != "__init__.py":
            name = str(path.relative_to(ROOT))
            mirrored[name] = (ROOT / "tests" / path.relative_to(ROOT / "xmr_ray").parent / f"test_{path.name}").exists()
    assert mirrored, "no files found"
    assert [name for name, present in mirrored.items() if not present and name not in UNMIRRORED] == []
    assert [name for name in UNMIRRORED if mirrored.get(name, True)] == [], "take these off the list"


# ---- negative control

LAWFUL = '"""A file."""\n\nimport numpy as np\nfrom xmr_ray.errors import XmrError\nfrom xmr_ray import __version__\n'
PLANTED = [
    ("geometry/planted.py", "import ray", "ray is for ['cluster']"),
    ("loop/planted.py", "import ray.data", "ray is for"),
    ("loop/planted.py", "def f():\n    from torch import nn", "torch is for"),
    ("training/planted.py", "from ray.train.torch import TorchTrainer", "ray is for"),
    ("training/planted.py", "import importlib\nimportlib.import_module('ray.data')", "ray is for"),
    ("strategies/planted.py", "import pyarrow.parquet as pq", "pyarrow is for"),
    ("scoring/planted.py", "from hnswlib import Index", "hnswlib is for ['geometry']"),
    ("cluster/planted.py", "import pandas as pd", "pandas is for nobody"),
    ("strategies/planted.py", "from xmr_ray.corpus import truth", "xmr_ray.corpus.truth is for"),
    ("scoring/planted.py", "from xmr_ray.corpus.truth import open_truth", "xmr_ray.corpus.truth is for"),
    ("corpus/planted.py", "from xmr_ray.readers import npz", "upwards, from floor 1 to floor 2"),
    ("corpus/planted.py", "from xmr_ray import cli", "upwards, from floor 1 to floor 5"),
    ("labels/planted.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from xmr_ray.loop import state", "upwards"),
    ("networks/planted.py", "import xmr_ray.losses", "sideways on floor 1"),
    ("losses/planted.py", "from ..networks import two_tower", "sideways on floor 1"),
    ("loop/planted.py", "from xmr_ray.config import Experiment", "sideways on floor 3"),
    ("types.py", "from xmr_ray.storage import join", "sideways on floor 0"),
    ("storage.py", "from .geometry import kmeans", "sideways on floor 0"),
    ("__init__.py", "from xmr_ray.errors import XmrError", "the package itself imports no room"),
    ("runs/planted.py", "import xmr_ray", "import rooms by their names"),
    ("runs/planted.py", "from xmr_ray.attic import trunk", "attic has no floor"),
    ("../jobs/planted.py", "import ray", "ray is for"),
    ("attic/planted.py", "x = 1", "no floor for attic"),
    ("corpus/utils.py", "x = 1", "a name that says nothing"),
    ("corpus/planted.py", "print('x')", "print"),
    ("corpus/planted.py", "x = 1\n" * MAX_LINES, f"longer than {MAX_LINES} lines"),
    ("corpus/deep/planted.py", "x = 1", "no __init__.py"),
]


@pytest.fixture
def house(tmp_path):
    """A copy of the package's Python files, with nothing in it but lawful code."""
    shutil.copytree(ROOT / "xmr_ray", tmp_path / "xmr_ray", ignore=shutil.ignore_patterns("__pycache__", "embedded"))
    (tmp_path / "jobs").mkdir()
    return tmp_path


@pytest.mark.parametrize(("file", "code", "reason"), PLANTED, ids=[f"{file}-{reason}" for file, _, reason in PLANTED])
def test_planted_code_is_caught(house, file, code, reason):
    path = house / "xmr_ray" / file
    path.parent.mkdir(exist_ok=True)
    before = violations(house)
    path.write_text(LAWFUL + code + "\n" if file != "__init__.py" else f'"""The package."""\n\n{code}\n')
    caught = [line for line in violations(house) if line not in before]
    assert any(reason in line for line in caught), caught


@pytest.mark.parametrize("file", ["corpus/planted.py", "cluster/planted.py", "../jobs/planted.py"])
def test_lawful_code_is_not_caught(house, file):
    before = violations(house)
    (house / "xmr_ray" / file).write_text(LAWFUL)
    assert violations(house) == before


def test_a_missing_docstring_is_caught(house):
    (house / "xmr_ray" / "corpus" / "__init__.py").write_text("")
    assert "xmr_ray/corpus/__init__.py: no docstring" in violations(house)


# ---- the text of the repository

TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".j2", ".cfg"}
PLAIN_NAMES = {"Makefile", "Dockerfile", "LICENSE", "NOTICE", "run", ".gitignore", ".rayignore"}
LEFT_OUT = {"venv", "runs", "corpora", "outputs", "build", "dist", "htmlcov", "__pycache__", "embedded"}
# written in pieces, so that this file does not hold what it forbids
REGISTRIES = [
    "pypi" + ".org",
    "python" + "hosted.org",
    "npm" + "js.",
    "anaconda" + ".org",
    "crates" + ".io",
    "download" + ".pytorch.org",
    "deb.debian" + ".org",
]
FOREIGN = re.compile("|".join([*map(re.escape, REGISTRIES), r"(?<![\w.~-])/" + r"work/"]))


def text_files(root: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name == ".ci" or not (name.startswith(".") or name in LEFT_OUT or name.endswith(".egg-info")))
        yield from (Path(folder, name) for name in sorted(files) if Path(name).suffix in TEXT or name in PLAIN_NAMES)


def foreign_lines(root: Path) -> list[str]:
    """Lines that name a package registry's host or this kind of machine's folders."""
    found = []
    for path in text_files(root):
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        found += [f"{path.relative_to(root)}:{number}: {line.strip()[:80]}" for number, line in enumerate(lines, 1) if FOREIGN.search(line)]
    return found


def test_no_line_names_a_registry_or_a_place_of_one_machine():
    assert {"README.md", "run", "test_architecture.py"} <= {path.name for path in text_files(ROOT)}
    assert foreign_lines(ROOT) == []


def test_foreign_lines_are_caught(tmp_path):
    (tmp_path / "README.md").write_text("fine\nsee https://" + REGISTRIES[0] + "/x\ncd /" + "work/main\na/" + "work/b is fine\n")
    assert [line.split(": ")[0] for line in foreign_lines(tmp_path)] == ["README.md:2", "README.md:3"]
