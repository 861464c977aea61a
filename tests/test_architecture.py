"""The package has layers, here called floors: who may import whom, read from the source."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

HIDDEN = ("import_module", "__import__")
PACKAGE = Path(__file__).parent.parent / "phi_magic"

# Each heavy library has its rooms, and no other module knows it.
ROOMS = {
    "llama_cpp": {"engine.llama"},
    "huggingface_hub": {"models.hub_cache"},
    "ipywidgets": {
        f"widgets.{name}" for name in ("controls", "explorer", "explorer_column", "panel", "seed", "token_view")
    },
    "anywidget": {f"widgets.{name}" for name in ("bars", "code", "curve", "labels", "sliders", "token_view")},
}


def modules():
    """Every module's dotted name inside the package ("" is the package itself) and its syntax tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


def imported(name, path):
    """The dotted names that a module imports anywhere, also inside functions; `from a import b` gives a and a.b."""
    package = ["phi_magic", *name.split(".")] if name else ["phi_magic"]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*above, node.module] if node.module else above)
            if node.module:  # `from . import b` asks the package for nothing but its module b
                yield source
            yield from (f"{source}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in HIDDEN:
            yield from hidden(name, path, node.args[0])


def hidden(name, path, argument):
    """The modules that a call imports by their names: the one in the call, or those of the module's table `_HOMES`."""
    if isinstance(argument, ast.Constant):
        yield argument.value
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tables = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOMES"
    ]
    if tables:
        inside = f"phi_magic.{name}" if name else "phi_magic"
        yield from (f"{inside}.{home}" for home in ast.literal_eval(tables[0]).values())
    else:
        yield f"hidden:{ast.unparse(argument)}"


def neighbours(name, path, known):
    for target in imported(name, path):
        inside = target.removeprefix("phi_magic").removeprefix(".")
        if target.split(".")[0] == "phi_magic" and inside in known and inside != name:
            yield inside


def test_imports_between_modules_make_no_circle():
    known = dict(modules())
    assert "errors" in known
    graph = {name: set(neighbours(name, path, known)) for name, path in known.items()}
    TopologicalSorter(graph).prepare()  # Raises CycleError with the circle.


def test_no_two_types_share_a_name():
    """Classes and aliases; an alias of the same type may be written in several modules."""
    places = {}
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name.lstrip("_"), {})[name] = name
            elif isinstance(node, ast.AnnAssign) and "TypeAlias" in ast.unparse(node.annotation):
                places.setdefault(node.target.id.lstrip("_"), {})[ast.unparse(node.value)] = name
    assert set(places.pop("Phi")) == {"magics.configuring", "phi"}  # `%config` calls a configurable by its class's name
    assert {name: sorted(found.values()) for name, found in places.items() if len(found) > 1} == {}


def test_every_import_can_be_read_from_the_source():
    unread = {(name, target) for name, path in modules() for target in imported(name, path) if "hidden:" in target}
    assert {name for name, _ in unread} == {"models.download", "remote.client"}  # whichever HTTP library is installed


@pytest.mark.parametrize("library", ROOMS)
def test_a_heavy_library_is_imported_in_its_room_only(library):
    users = {name for name, path in modules() for target in imported(name, path) if target.split(".")[0] == library}
    assert users <= ROOMS[library]


#: The rooms, which are folders and modules beside them, floor by floor. A room imports from its floor and those below.
FLOORS = [
    "errors interrupt machine messages parameters paths position recorded reply running_cell suggestions",  # data
    "draws fix gguf models rendering sampling schema settings",  # what both processes use
    "conversation generation keywords prompt question sweep",  # requests, and the contract of a backend
    "backends engine exactness remote tables",  # what answers requests
    "catalogue cell options phi replay walk",  # the core's face to its callers
    "__main__ display magics views widgets",  # adapters, and the package itself
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in (*rooms.split(), *[""] * (floor == 5))}


def room(name):
    return name.split(".")[0]


def between_rooms():
    known = dict(modules())
    for name, path in known.items():
        yield from ((room(name), room(other)) for other in neighbours(name, path, known) if room(other) != room(name))


def test_every_room_has_a_floor():
    assert {room(name) for name, _ in modules()} == set(FLOOR)


def test_no_room_imports_from_a_floor_above():
    assert {(one, other) for one, other in between_rooms() if FLOOR[other] > FLOOR[one]} == set()


def test_imports_between_folders_make_no_circle():
    graph = {}
    for one, other in between_rooms():
        graph.setdefault(one, set()).add(other)
    TopologicalSorter(graph).prepare()


def test_only_adapters_know_ipython():
    users = {name for name, path in modules() for target in imported(name, path) if target.split(".")[0] == "IPython"}
    assert {FLOOR[room(name)] for name in users} == {len(FLOORS) - 1}
