"""docs/formats.md says where each format has a native kernel, as the catalogue does."""

from __future__ import annotations

import re
from pathlib import Path

from whichbits.formats.catalogue import kernels_of, load
from whichbits.formats.kernels import Device

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
COLUMNS: dict[str, tuple[Device, float]] = {
    "CPU": ("cpu", 0.0), "Turing 7.5": ("cuda", 7.5), "Ampere 8.0": ("cuda", 8.0), "Ada 8.9": ("cuda", 8.9),
    "Hopper 9.0": ("cuda", 9.0), "Blackwell 10.0": ("cuda", 10.0), "AMD": ("rocm", 0.0), "Ascend": ("npu", 0.0),
}  # fmt: skip


def row(name: str) -> list[str]:
    """A cell a column: whether a kernel of vLLM's runs the format natively there."""
    return [
        "yes" if any(kernel.runs(name, device, capability) for kernel in kernels_of("vllm", device)) else "–"
        for device, capability in COLUMNS.values()
    ]


def test_the_table_of_native_kernels_is_the_catalogues() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| native in vLLM |")[2].partition("\n\n")[0]
    head, _, *lines = table.strip().splitlines()
    assert [cell.strip() for cell in head.strip("| ").split("|")] == list(COLUMNS)
    found: dict[str, list[str]] = {}
    for line in lines:
        names, *cells = (cell.strip() for cell in line.strip("| ").split("|"))
        found |= dict.fromkeys(re.findall(r"`([^`]+)`", names), cells)
    assert found == {name: row(name) for name in load()}
