from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from whichbits.quantize.calibration import CalibrationData  # noqa: E402
from whichbits.quantize.resume import kept_data  # noqa: E402


def test_calibration_data_are_made_once_for_the_same_settings(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> CalibrationData:
        made.append(1)
        return CalibrationData(torch.tensor([[1, 2, len(made)]]), f"fingerprint {len(made)}", ("few",))

    file = tmp_path / "layers" / "calibration.safetensors"
    first = kept_data(file, {"seed": 0, "length": 3}, make)
    again = kept_data(file, {"length": 3, "seed": 0}, make)
    assert len(made) == 1
    assert torch.equal(first.tokens, again.tokens)
    assert (again.fingerprint, again.warnings) == ("fingerprint 1", ("few",))
    other = kept_data(file, {"seed": 1, "length": 3}, make)
    assert other.fingerprint == "fingerprint 2"
    assert kept_data(file, {"seed": 1, "length": 3}, make).tokens.tolist() == [[1, 2, 2]]
    assert [path.name for path in file.parent.iterdir()] == ["calibration.safetensors"]
