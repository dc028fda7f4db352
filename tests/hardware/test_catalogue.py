import json
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.hardware.catalogue import catalogue, find

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


PRINTED = {
    "NVIDIA H100 80GB HBM3": "nvidia-h100-sxm",
    "NVIDIA H100 PCIe": "nvidia-h100-pcie",
    "NVIDIA H100 NVL": "nvidia-h100-nvl",
    "NVIDIA H200": "nvidia-h200",
    "NVIDIA H20": "nvidia-h20",
    "NVIDIA GH200 480GB": "nvidia-gh200",
    "NVIDIA A100-SXM4-80GB": "nvidia-a100-sxm-80gb",
    "NVIDIA A100-SXM4-40GB": "nvidia-a100-sxm-40gb",
    "NVIDIA A100 80GB PCIe": "nvidia-a100-pcie-80gb",
    "NVIDIA A100-PCIE-40GB": "nvidia-a100-pcie-40gb",
    "NVIDIA L40S": "nvidia-l40s",
    "NVIDIA L40": "nvidia-l40",
    "NVIDIA L4": "nvidia-l4",
    "NVIDIA A10": "nvidia-a10",
    "NVIDIA A10G": "nvidia-a10g",
    "NVIDIA RTX A6000": "nvidia-a6000",
    "NVIDIA RTX 6000 Ada Generation": "nvidia-rtx-6000-ada",
    "NVIDIA GeForce RTX 4090": "nvidia-rtx-4090",
    "NVIDIA RTX PRO 6000 Blackwell Server Edition": "nvidia-rtx-pro-6000",
    "NVIDIA B200": "nvidia-b200",
    "NVIDIA GB200": "nvidia-gb200",
    "NVIDIA B300 SXM6 AC": "nvidia-b300",
    "Tesla T4": "nvidia-t4",
    "AMD Instinct MI300X": "amd-mi300x",
    "AMD Instinct MI325X OAM": "amd-mi325x",
    "910B3": "huawei-atlas-a2",
}


@pytest.mark.parametrize(("printed", "identifier"), PRINTED.items())
def test_devices_are_found_by_the_names_that_drivers_print(printed: str, identifier: str) -> None:
    assert find(printed).id == identifier


@pytest.mark.parametrize(
    ("printed", "near"),
    [
        ("Tesla V100-SXM2-32GB", ""),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "H100-SXM"),
        ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "A100-SXM-40GB"),
        ("NVIDIA H20-3e", "H20"),
        ("NVIDIA H200 NVL", "H200"),
        ("NVIDIA H800", "H100"),
        ("NVIDIA A800-SXM4-80GB", "A100-SXM-80GB"),
        ("NVIDIA A100-SXM-64GB", "A100-SXM-40GB"),
        ("NVIDIA GeForce RTX 4090 D", "RTX 4090"),
        ("NVIDIA GeForce RTX 3090 Ti", "RTX 3090"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090"),
        ("NVIDIA GH200 144G HBM3e", "GH200"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000"),
        ("Quadro RTX 6000", "RTX 6000 Ada"),
        ("AMD Instinct MI300A", "MI300X"),
        ("AMD Instinct MI250X", "MI300X"),
        ("910B4", "Atlas A2"),
        ("NVIDIA", ""),
        ("", ""),
    ],
)
def test_a_sibling_is_never_taken_for_the_device(printed: str, near: str) -> None:
    with pytest.raises(UserError, match="not in the catalogue") as raised:
        find(printed)
    assert near in raised.value.remedy.partition("; known are ")[0]


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


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("nvidia-l4: {name: L4}", "a device has no maker"),
        ("x1: {name: X1, maker: acme}", "maker 'acme' is not one of nvidia, amd, huawei"),
        ("[", "not of the form of the catalogue of devices"),
        ("- a", "not of the form of the catalogue of devices"),
    ],
)
def test_a_file_of_devices_that_is_not_of_the_form_is_refused(
    text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.yaml").write_text(text)
    monkeypatch.setenv("WHICHBITS_HARDWARE", str(tmp_path / "devices.yaml"))
    with pytest.raises(UserError, match=says):
        catalogue.__wrapped__()  # type: ignore[attr-defined]


FIELDS = {
    "name": "X1", "maker": "nvidia", "architecture": "ada", "memory": "gddr", "capability": 8.9, "units": 1, "clock_ghz": 1,
    "memory_gb": 24, "bandwidth": 300, "peak": {"bf16": 1}, "link": 1, "link_kind": "pcie4", "node": 1, "network": 1,
    "power_w": 72, "source": "a data sheet",
}  # fmt: skip


@pytest.mark.parametrize(
    ("devices", "says"),
    [
        ({"nvidia-l4": FIELDS}, "there is a device 'nvidia-l4' already"),
        ({"x1": FIELDS | {"name": "H100"}}, "there is a device 'H100' already"),
        ({"x1": FIELDS | {"aliases": ["x-one", "GeForce RTX 4090"]}}, "there is a device 'GeForce RTX 4090' already"),
        ({"x1": FIELDS | {"aliases": [4090]}}, "there is a device '4090' already"),
        ({"x1": FIELDS, "x2": FIELDS}, "there is a device 'X1' already"),
        ({"x1": FIELDS | {"name": "CPU"}}, "there is a device 'CPU' already"),
        ({"x1": FIELDS | {"alias": ["L5"]}}, "field 'alias' of x1 is not known"),
        ({"x1": FIELDS | {"peak": {"bf16": 1, "fp 8": 2}}}, "number type 'fp 8' of x1 is not known"),
    ],
)
def test_a_file_of_devices_replaces_none_and_says_nothing_that_is_ignored(
    devices: dict[str, object], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "devices.yaml").write_text(json.dumps(devices))
    monkeypatch.setenv("WHICHBITS_HARDWARE", str(tmp_path / "devices.yaml"))
    with pytest.raises(UserError, match=says):
        catalogue.__wrapped__()  # type: ignore[attr-defined]
