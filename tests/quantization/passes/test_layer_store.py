from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.calibration.data import CalibrationData  # noqa: E402
from whichbits.quantization.passes.layer_store import LayerStore, drop_states, kept_data  # noqa: E402


def test_calibration_data_are_made_once_for_the_same_settings(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> CalibrationData:
        made.append(1)
        return CalibrationData(torch.tensor([[1, 2, len(made)]]), f"fingerprint {len(made)}", ("few",))

    file = tmp_path / "layers"
    first = kept_data(file, {"seed": 0, "length": 3}, make)
    again = kept_data(file, {"length": 3, "seed": 0}, make)
    assert len(made) == 1
    assert torch.equal(first.tokens, again.tokens)
    assert (again.fingerprint, again.warnings) == ("fingerprint 1", ("few",))
    other = kept_data(file, {"seed": 1, "length": 3}, make)
    assert other.fingerprint == "fingerprint 2"
    assert kept_data(file, {"seed": 1, "length": 3}, make).tokens.tolist() == [[1, 2, 2]]
    assert sorted(path.name for path in file.iterdir()) == ["calibration.safetensors", "lock"]


def test_two_runs_do_not_work_in_one_folder(tmp_path: Path) -> None:
    """The first is another process, killed at the end, which leaves nothing behind that stands in the way."""
    program = (
        "import sys, pathlib; from whichbits.quantization.passes.layer_store import LayerStore\n"
        "store = LayerStore(pathlib.Path(sys.argv[1]), {'seed': 0}); print('here', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout and other.stdout.readline() == "here\n"
        with pytest.raises(UserError, match="another run makes the same checkpoint"):
            LayerStore(tmp_path, {"seed": 0})
        with pytest.raises(UserError, match="another run makes the same checkpoint"):
            kept_data(tmp_path, {}, lambda: pytest.fail("nothing is made"))
    finally:
        other.kill()
        other.wait()
    store = LayerStore(tmp_path, {"seed": 0})
    assert LayerStore(tmp_path, {"seed": 0}).has(0) == store.has(0) is False, "the same process may go on"


def test_calibration_data_that_cannot_be_had_leave_nothing(tmp_path: Path) -> None:
    def make() -> CalibrationData:
        raise UserError("no such file", remedy="give another")

    with pytest.raises(UserError, match="no such file"):
        kept_data(tmp_path / "layers", {}, make)
    assert list(tmp_path.iterdir()) == []


def test_hidden_states_of_a_killed_pass_go(tmp_path: Path) -> None:
    (tmp_path / "tmpkilled").mkdir()
    (tmp_path / "fisher-1").mkdir()
    drop_states(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["fisher-1"]


def test_shared_data_are_kept_for_each_of_several_settings(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> CalibrationData:
        made.append(1)
        return CalibrationData(torch.tensor([[len(made)]]), "", ())

    asked = [kept_data(tmp_path, {"seed": seed}, make, shared=True).tokens.item() for seed in (0, 1, 0, 1)]
    assert asked == [1, 2, 1, 2]


def test_who_asks_for_shared_data_waits_while_another_makes_them(tmp_path: Path) -> None:
    program = """
import sys, pathlib, torch
from whichbits.quantization.calibration.data import CalibrationData
from whichbits.quantization.passes.layer_store import kept_data

def make():
    print("here", flush=True)
    sys.stdin.readline()
    return CalibrationData(torch.tensor([[7]]), "", ())

kept_data(pathlib.Path(sys.argv[1]), {}, make, shared=True)
"""
    arguments = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout and other.stdin and other.stdout.readline() == "here\n"
        threading.Timer(0.2, lambda: (other.stdin.write("\n"), other.stdin.flush())).start()  # type: ignore[union-attr]
        found = kept_data(tmp_path, {}, lambda: pytest.fail("it is made already"), shared=True)
    assert found.tokens.item() == 7


def test_layers_of_other_settings_are_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    first = LayerStore(tmp_path, {"versions": 1})
    first.put(0, {"weight": torch.ones(1)}, ())
    (tmp_path / "fisher-1").mkdir()
    assert LayerStore(tmp_path, {"versions": 1}, replace=True).has(0)
    assert not LayerStore(tmp_path, {"versions": 2}, replace=True).has(0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock", "settings.json"]
    LayerStore(tmp_path, {"versions": 2})
