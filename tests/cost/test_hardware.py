import pytest

from whichbits.cost.hardware import catalogue, find
from whichbits.errors import UserError

REQUIRED = (
    "A6000", "A5000", "L4", "L40S", "A10", "A30", "A100 40GB", "A100 80GB", "H100 PCIe", "H100 SXM", "H200", "B200",
    "RTX 4090", "RTX 5090", "RTX PRO 6000", "MI300X", "Atlas A2",
)  # fmt: skip


@pytest.mark.parametrize("name", REQUIRED)
def test_named_devices_are_in_the_catalogue(name: str) -> None:
    assert find(name).source


def test_names_are_found_however_they_are_written() -> None:
    assert find("h100_sxm") is find("H100 SXM") is find("nvidia-h100-sxm")
    assert find("A100").memory == 80 * 2**30


def test_names_mean_one_device_each() -> None:
    spelled = [name for entry in catalogue().values() for name in {entry.name, *entry.aliases}]
    assert all(find(name) is entry for entry in catalogue().values() for name in (entry.id, entry.name, *entry.aliases))
    assert len(spelled) > len(catalogue())


@pytest.mark.parametrize("entry", catalogue().values(), ids=lambda entry: entry.id)
def test_numbers_are_of_the_right_magnitude(entry) -> None:
    sixteen = entry.peak.get("bf16", entry.peak.get("fp16"))
    assert 50e12 <= sixteen <= 5000e12
    assert 200e9 <= entry.bandwidth <= 10e12
    assert 10e9 < entry.memory < 400e9
    # A device with FP8 tensor cores has capability 8.9 or is not NVIDIA's; FP8 is never slower than 16 bit.
    if entry.maker == "nvidia":
        assert ("fp8" in entry.peak) == (entry.capability >= 8.9)
        assert ("fp4" in entry.peak) == (entry.capability >= 10)
    assert entry.peak.get("fp8", sixteen) >= sixteen


def test_an_unknown_device_is_a_user_error() -> None:
    with pytest.raises(UserError, match="H900"):
        find("H900")


def test_this_cpu_is_measured_once() -> None:
    entry = find("cpu")
    assert entry is find("CPU")
    assert 1e9 < entry.bandwidth < 1e12
    assert 1e9 < entry.peak["bf16"] < 1e14
