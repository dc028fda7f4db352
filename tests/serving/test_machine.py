"""Energy and throttling by the machine's counters, read from files as the kernel writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.hardware.energy import Counter, joules_between, read_energy, why_no_energy
from whichbits.hardware.throttling import throttled_seconds
from whichbits.schema.serve import Energy, Metrics
from whichbits.serving.machine import Reading, energy_between, energy_metrics, idle_watts, throttled_between, with_energy
from whichbits.serving.observation import Observation


def rapl(folder: Path, **joules: float) -> Path:
    """Packages as the kernel shows them, with a part of the first."""
    for index, (name, value) in enumerate(joules.items()):
        for zone in (folder / f"intel-rapl:{index}", folder / f"intel-rapl:{index}:0"):
            zone.mkdir(exist_ok=True, parents=True)
            (zone / "name").write_text(name if zone.name.count(":") == 1 else "core")
            (zone / "energy_uj").write_text(str(int(value * 1e6)))
            (zone / "max_energy_range_uj").write_text("262143328850")
    return folder


def test_packages_are_counted_once(tmp_path: Path) -> None:
    before = read_energy(rapl(tmp_path, **{"package-0": 100.0, "package-1": 50.0}))
    after = read_energy(rapl(tmp_path, **{"package-0": 130.0, "package-1": 55.0}))
    assert [counter.name for counter in before if "RAPL" in counter.name] == ["package-0 (RAPL)", "package-1 (RAPL)"]
    of_packages = [tuple(c for c in side if "RAPL" in c.name) for side in (before, after)]
    assert joules_between(*of_packages) == pytest.approx(35.0)


def test_a_counter_that_began_anew() -> None:
    before, after = (Counter("package-0 (RAPL)", 262143.0, 262143.32885),), (Counter("package-0 (RAPL)", 5.0, 262143.32885),)
    assert joules_between(before, after) == pytest.approx(5.32885)
    assert joules_between((Counter("GPU 0 (NVML)", 10.0),), (Counter("GPU 0 (NVML)", 5.0),)) is None
    assert joules_between((), ()) is None


def test_a_machine_that_cannot_tell(tmp_path: Path) -> None:
    assert "neither a GPU with NVML nor RAPL" in why_no_energy(tmp_path)
    (rapl(tmp_path, **{"package-0": 1.0}) / "intel-rapl:0" / "energy_uj").unlink()
    assert not [counter for counter in read_energy(tmp_path) if "RAPL" in counter.name]
    assert "cannot be read" in why_no_energy(tmp_path)


def request(number: int, tokens: int) -> Observation:
    return Observation(number, number == 0, 0.0, 0.0, 0.1, 1.0, 1.0, 8, tokens, tokens, (), None, 8, tokens)


def test_joules_of_a_query_and_a_token_are_above_idle() -> None:
    """50 J in 2 s, of which idling takes 10: 4 queries of 5 tokens, warm-up included."""
    before, after = Reading(0.0, (Counter("GPU 0 (NVML)", 0.0),), {}), Reading(2.0, (Counter("GPU 0 (NVML)", 50.0),), {})
    energy = energy_between(before, after, idle=5.0)
    assert energy == Energy(joules=50.0, seconds=2.0, idle_watts=5.0)
    plain = Metrics(requests_per_second=2.0, output_tokens_per_second=10.0)
    metrics = with_energy(plain, energy, [request(number, 5) for number in range(4)])
    assert metrics.of("joules_per_query") == pytest.approx(10.0)
    assert metrics.of("joules_per_output_token") == pytest.approx(2.0)
    assert metrics.of("idle_watts") == 5.0
    assert with_energy(plain, None, [request(0, 5)]) == plain
    assert energy_between(before, after, idle=None) is None
    assert energy_metrics([]) == ()


def test_a_server_on_another_machine_has_no_energy_here() -> None:
    assert idle_watts("http://10.1.2.3:8000") is None


@pytest.mark.parametrize(
    ("name", "text", "seconds"),
    [
        ("cpu.stat", "usage_usec 9\nnr_throttled 3\nthrottled_usec 2500000\n", 2.5),
        ("v1.stat", "nr_periods 9\nthrottled_time 4000000000\n", 4.0),
    ],
)
def test_a_quota_that_holds_back(name: str, text: str, seconds: float, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert throttled_seconds((tmp_path / "none", tmp_path / name), tmp_path)["processor quota"] == seconds


def test_heat_that_holds_back(tmp_path: Path) -> None:
    for core, milliseconds in ((0, 1500), (1, 400)):
        (tmp_path / f"cpu{core}" / "thermal_throttle").mkdir(parents=True)
        (tmp_path / f"cpu{core}" / "thermal_throttle" / "package_throttle_total_time_ms").write_text(str(milliseconds))
    assert throttled_seconds((), tmp_path)["processor heat"] == 1.5
    before, after = Reading(0.0, (), {"processor heat": 1.0}), Reading(4.0, (), {"processor heat": 2.0})
    assert throttled_between(before, after) == {"processor heat": 0.25}
