"""The bar of phi.map."""

from phi_magic import Phi


def test_it_moves_before_a_row_is_finished(slow_model, capsys):
    Phi(model=str(slow_model), seed=1, max_tokens=40).map(["write", "write more"])
    states = [state for state in capsys.readouterr().err.split("\r") if "rows" in state]
    assert any("0 of 2 rows" in state and not state.lstrip().startswith("0%") for state in states)
    assert "100%" in states[-1]
    assert "2 of 2 rows" in states[-1]


def test_without_progress_nothing_is_written(capsys):
    Phi(model="demo", max_tokens=2).map(["Hello"], progress=False)
    assert capsys.readouterr().err == ""
