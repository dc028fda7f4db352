"""The parts of `benchmarks/quantizers` that its figures rest on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")
np = pytest.importorskip("numpy")
pytest.importorskip("scipy")

FOLDER = Path(__file__).parents[2] / "benchmarks" / "quantizers"


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch):
    """Import a script of the benchmark as it imports its neighbours."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name: str) -> ModuleType:
        import importlib

        for each in ("from_gptq", "judge", "measured", "runs", "table", "tokens", "work"):
            monkeypatch.delitem(sys.modules, each, raising=False)
        return importlib.import_module(name)

    return load


def test_divergence_likelihood_and_agreement_of_a_window(module) -> None:
    base = torch.tensor([[0.75, 0.25], [0.5, 0.5], [0.1, 0.9]]).log()
    candidate = torch.tensor([[0.5, 0.5], [0.25, 0.75], [0.1, 0.9]]).log() + 3.0
    found = module("judge").compared(base, candidate, torch.tensor([0, 0, 1]))
    divergences = [0.75 * np.log(1.5) + 0.25 * np.log(0.5), 0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75), 0.0]
    assert found["kl"] == pytest.approx(np.mean(divergences), rel=1e-6)
    assert found["nll"] == pytest.approx(-(np.log(0.5) + np.log(0.75)) / 2, rel=1e-6)
    assert found["base_nll"] == pytest.approx(-(np.log(0.75) + np.log(0.5)) / 2, rel=1e-6)


def test_agreement_counts_positions(module) -> None:
    base = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 4.0]])
    candidate = torch.tensor([[2.0, 1.0], [1.0, 0.0], [3.0, 1.0], [0.0, 0.5]])
    assert module("judge").compared(base, candidate, torch.zeros(4, dtype=torch.int64))["agreement"] == 0.75


def test_interval_is_students_and_ratio_is_paired(module) -> None:
    table = module("table")
    mean, half = table.interval([1.0, 2.0, 3.0])
    assert mean == 2.0
    assert half == pytest.approx(4.302653 / 3**0.5, rel=1e-6)
    theirs = np.random.default_rng(1).uniform(0.1, 10, 30)
    low, middle, high = table.ratio((0.5 * theirs).tolist(), theirs.tolist())
    assert (low, middle, high) == pytest.approx((0.5, 0.5, 0.5)), "windows that vary alike leave no doubt in the ratio"
    low, middle, high = table.ratio(theirs[::-1].tolist(), theirs.tolist())
    assert middle == pytest.approx(1)
    assert low < 0.9
    assert high > 1.1


def test_calibration_and_judging_windows_are_apart(module) -> None:
    tokens = module("tokens")
    windows = torch.arange(90).reshape(30, 3)
    calibration = tokens.draw(windows, 12, seed=0)
    assert calibration.max() < 60
    assert len({tuple(row) for row in calibration.tolist()}) == 12
    held_out = tokens.part(windows, "held-out", calibration)
    assert held_out.tolist() == windows[20:].tolist()
    middle = tokens.part(windows, "middle", calibration)
    rows = {tuple(row) for row in middle.tolist()}
    assert rows | {tuple(row) for row in calibration.tolist()} >= {tuple(row) for row in windows[10:20].tolist()}
    assert not rows & {tuple(row) for row in calibration.tolist()}
    assert tokens.spread(held_out, 4).tolist() == held_out[[0, 3, 6, 9]].tolist()


def test_weights_of_autogptqs_layout(module) -> None:
    """Codes 0 to 7 of the first output, 15 to 8 of the second; zero points 8 and 3, stored one less; six outputs of zeros."""
    words = [0x76543210, 0x89ABCDEF - 2**32, *[0] * 6]
    qweight = torch.tensor([words], dtype=torch.int64).to(torch.int32)
    qzeros = torch.tensor([[0x27]], dtype=torch.int32)
    scales = torch.tensor([[0.5, 2.0, *[1.0] * 6]], dtype=torch.float16)
    weight = module("from_gptq").weight
    found = weight(qweight, qzeros, scales, None, zero_offset=1)
    assert found[:2].tolist() == [[0.5 * (code - 8) for code in range(8)], [2.0 * (code - 3) for code in range(15, 7, -1)]]
    mixed = weight(
        torch.cat([qweight, qweight]), torch.tensor([[0x27], [0x24]], dtype=torch.int32), torch.cat([scales, 2 * scales]),
        torch.tensor([0, 1] * 8), zero_offset=1,
    )  # fmt: skip
    assert mixed[0, :4].tolist() == [0.5 * (0 - 8), 1.0 * (1 - 5), 0.5 * (2 - 8), 1.0 * (3 - 5)]


def test_time_and_memory_of_a_process_and_its_child(module, tmp_path: Path) -> None:
    measured = module("measured").measured
    child = "import time; x = bytearray(b'1' * 60_000_000); time.sleep(0.4)"
    code = f"""
import subprocess, sys, time
x = bytearray(b'1' * 100_000_000)
subprocess.run([sys.executable, "-c", {child!r}], check=True)
end = time.process_time() + 0.5
while time.process_time() < end: pass
"""
    found = measured([sys.executable, "-c", code], environment=os.environ, log=tmp_path / "log")
    assert 160e6 < found.peak_anonymous_bytes < 320e6
    assert 0.5 < found.cpu_s < found.wall_s
    with pytest.raises(subprocess.CalledProcessError):
        measured([sys.executable, "-c", "raise SystemExit(3)"], environment=os.environ, log=tmp_path / "log")
