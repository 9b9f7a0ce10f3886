import ast
from collections import defaultdict
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.pages import ROOT

# The folders and loose modules of distax by floor, lowest first. A module imports from lower floors
# and from its own folder only.
FLOORS = [
    ("runtime",),
    ("imaging", "costs"),
    ("metrics", "io"),
    ("models",),
    ("fitting",),
    ("evaluation", "frames", "calibration", "export", "interop"),
    ("training", "viz"),
    ("weights", "compilation"),
    ("methods",),
    ("unmixer",),
    ("tracking", "benchmarking", "shards"),
    ("cli",),
]
FLOOR = {folder: number for number, floor in enumerate(FLOORS, start=1) for folder in floor}
# These only offer the names of other modules.
PUBLIC = {"distax", "distax.scenes"}
DATASETS_IMPORT, IMPORTS_DATASETS = {"imaging", "io", "runtime"}, {"training", "cli"}
MOST_LOOSE_MODULES, MOST_FLOORS = 8, 12
FORBIDDEN = {"what", "how", "where", "which", "whether"}


@cache
def modules():
    """Returns the path of every module of distax, `distax.datasets` included, by its name."""
    found = {}
    for top, prefix in (("distax", ()), ("datasets", ("distax",))):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            if parts[:2] != ("distax", "datasets"):  # a link in some checkouts
                found[".".join((*prefix, *parts)).removesuffix(".__init__")] = path
    return found


@cache
def imports(module):
    """Returns the modules of distax that a module imports, also lazily or for types only."""
    found = set()
    for node in ast.walk(ast.parse(modules()[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports relatively"
            children = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [child if child in modules() else node.module for child in children]
        else:
            continue
        found |= {name for name in names if name.partition(".")[0] == "distax"}
    return found


def folder(module):
    """Returns the folder or loose module at the top of distax that a module is in."""
    return module.split(".")[1]


def edges():
    """Yields every import between modules, those of the modules that re-export left out."""
    for module in modules().keys() - PUBLIC:
        for imported in imports(module):
            yield module, imported


def is_allowed(module, imported):
    source, target = folder(module), folder(imported)
    if source == target:
        return True
    if source == "datasets":
        return target in DATASETS_IMPORT
    if target == "datasets":
        return source in IMPORTS_DATASETS
    return FLOOR[target] < FLOOR[source]


def test_every_module_has_a_floor():
    folders = {folder(module) for module in modules() if module not in PUBLIC}
    assert folders - {"datasets"} == FLOOR.keys()


def test_imports_go_to_lower_floors():
    wrong = [edge for edge in edges() if edge[1] not in PUBLIC and not is_allowed(*edge)]
    assert not wrong, "\n".join(f"{source} imports {target}" for source, target in sorted(wrong))


def test_no_module_imports_the_modules_that_re_export():
    wrong = [edge for edge in edges() if edge[1] in PUBLIC]
    assert not wrong, "\n".join(f"{source} imports {target}" for source, target in sorted(wrong))


def test_no_modules_import_one_another_in_a_circle():
    graph = {module: imports(module) - {module} for module in modules().keys() - PUBLIC}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_few_modules_are_loose_and_few_floors_stand_on_one_another():
    loose = [path for path in (ROOT / "distax").glob("*.py") if path.name != "__init__.py"]
    assert len(loose) <= MOST_LOOSE_MODULES
    below = defaultdict(set)
    for module, imported in edges():
        if imported not in PUBLIC and folder(module) != folder(imported):
            below[folder(module)].add(folder(imported))
    try:
        order = list(TopologicalSorter(below).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))
    height = {}
    for name in order:
        height[name] = 1 + max((height[lower] for lower in below[name]), default=0)
    assert max(height.values()) <= MOST_FLOORS


def test_docstrings_begin_with_what_a_thing_does_or_is():
    """Questions hide the verb: "Returns the noise in counts.", not "What the noise is."."""
    wrong = []
    for module, path in sorted(modules().items()):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node) or ""
                if text and text.split()[0].strip(",:").lower() in FORBIDDEN:
                    wrong.append(f"{module}: {text.splitlines()[0]}")
    assert not wrong, "\n".join(wrong)
