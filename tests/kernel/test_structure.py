"""Formats and --schema in a notebook that is run whole: what each cell's output holds, and what is bound."""

from __future__ import annotations

import json

import nbformat
import pytest

from phi_magic.__main__ import main
from tests.notebooks import notebook_of, run_notebook

pytestmark = pytest.mark.kernel

SETUP = """\
%load_ext phi_magic
%config Phi.model = "demo"
%config Phi.seed = 1
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from pydantic import BaseModel, Field

class Person(BaseModel):
    name: str = Field(max_length=12)
    age: int = Field(ge=0, le=99)

@dataclass
class Weather:
    sky: Literal["clear", "snow"]

person = Person.model_json_schema()
Path("person.json").write_text(json.dumps(person))"""
SCHEMAS = {"Person": "Person", "Weather": "Weather", "person": "dict", "person.json": "dict"}
FORMATS = {
    "markdown": {"text/markdown", "text/plain"},
    "text": {"text/plain"},
    "html": {"text/html", "text/plain"},
    "tokens": {"text/html", "text/plain"},
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A notebook that was run from its top to its end in its own folder, and saved."""
    cells = [SETUP]
    for name in SCHEMAS:
        cells += [
            f"%%phi --schema {name} -o answer\nSomeone",
            "print(type(answer.data).__name__, answer.finish_reason)",
        ]
    cells += ["%%phi --schema Person -n 3 -o cut\nSomeone", "print(cut.data, cut.finish_reason)"]
    cells += [
        "%%phi_sweep seed=1:3 --schema Person -o grid\nSomeone",
        "print({type(r.data).__name__ for r in grid.reply})",
    ]
    cells += [f"%%phi -f {form} -n 5\nWrite a haiku about ice" for form in FORMATS]
    path = tmp_path_factory.mktemp("saved") / "notebook.ipynb"
    done = run_notebook(notebook_of(*cells), resources={"metadata": {"path": str(path.parent)}})
    nbformat.write(done, path)
    return path


@pytest.fixture
def cells(path):
    return iter(nbformat.read(path, as_version=4).cells[1:])


def answer(cell):
    """What a cell displays of its answer."""
    [data] = [output.data for output in cell.outputs if "phi_magic" in output.get("metadata", {})]
    return data


def test_an_answer_is_the_object_of_its_schema(cells):
    for kind in SCHEMAS.values():
        data = answer(next(cells))
        assert isinstance(json.loads(data["text/plain"]), dict)
        assert next(cells).outputs[0].text == f"{kind} stop\n"
    cut = next(cells)
    assert "before the object was whole" in cut.outputs[-1].data["text/plain"]
    assert next(cells).outputs[0].text == "None length\n"
    next(cells)
    assert next(cells).outputs[0].text == "{'Person'}\n"


def test_every_format_is_saved_with_its_types(cells):
    for cell, types in zip(list(cells)[-len(FORMATS) :], FORMATS.values(), strict=True):
        assert set(answer(cell)) == types


def test_all_of_it_replays_the_same(path, capsys):
    assert main(["replay", str(path)]) == 0
    assert capsys.readouterr().out.endswith("12 answers: 12 the same\n")
