"""Remedies of what other packages, and files of the user's, add to a registry or a catalogue."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from whichbits.core import data_files, entry_points
from whichbits.formats import catalogue as formats
from whichbits.hardware import catalogue as hardware
from whichbits.similarity.measures.length_ratio import LengthRatio
from whichbits.similarity.measures.registry import MEASURES

FORMAT = """formats:
  w6a16-int:
    {title: W6A16-INT, purpose: six bits, storage: int-quantized, stored_bits: 8,
     weights: {num_bits: 6, type: int, symmetric: true, strategy: channel, dynamic: false}}
"""
CACHE = """kv_caches:
  kv-fp8: {title: A cache, values: {num_bits: 8, type: int, symmetric: true, strategy: tensor, dynamic: false}, elsewhere: no}
"""
DEVICE = (
    "{name: X1, maker: nvidia, architecture: ada, memory: gddr, capability: 8.9, units: 1, clock_ghz: 1, memory_gb: 24, "
    "bandwidth: 300, peak: {bf16: 1}, link: 1, link_kind: pcie4, node: 1, network: 1, power_w: 72, source: a data sheet}"
)


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, object], None]:
    """Installs one entry point, `NAME = brought:THING`."""

    def install(name: str, thing: object) -> None:
        module = ModuleType("brought")
        module.THING = thing  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "brought", module)
        point = EntryPoint(name, "brought:THING", "group")
        for place in (entry_points, data_files):
            monkeypatch.setattr(place, "entry_points", lambda group, name=point.name: [point] if name == point.name else [])

    return install


def test_an_entry_point_that_has_another_name_than_what_it_names(follow: Any, named: Callable[[str, object], None]) -> None:
    registry = replace(MEASURES, ours={}, _loaded={}, _registered={})

    def ask(name: str) -> None:
        named(name, LengthRatio)
        registry.get(name)

    follow("of {group} names the {what} {own}", mistake=lambda: ask("ratio"), remedy=lambda: ask("length_ratio"))


def test_an_entry_point_of_a_class_that_cannot_be_made(follow: Any, named: Callable[[str, object], None]) -> None:
    registry = replace(MEASURES, ours={}, _loaded={}, _registered={})

    class Longer(LengthRatio):
        def __init__(self, by: float) -> None:
            self.by = by

    def ask(thing: object) -> None:
        named("length_ratio", thing)
        registry.get("length_ratio")

    error = follow("cannot be made: {error}", mistake=lambda: ask(Longer), remedy=lambda: ask(Longer(2.0)))
    assert "'by'" in error.message


def test_an_entry_point_of_a_file_that_names_no_path(follow: Any, named: Callable[[str, object], None], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(FORMAT)

    def read(thing: object) -> None:
        named("mine", thing)
        assert "w6a16-int" in formats.catalogue.__wrapped__().formats

    follow("names is no path", mistake=lambda: read(str(path)), remedy=lambda: read(path))


def test_an_entry_point_of_a_file_that_is_not_there(follow: Any, named: Callable[[str, object], None], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    named("mine", path)

    def read() -> None:
        assert "w6a16-int" in formats.catalogue.__wrapped__().formats

    def written() -> None:
        path.write_text(FORMAT)
        read()

    follow("cannot be read", mistake=read, remedy=written)


@pytest.mark.parametrize("wrong", ["formats: [", FORMAT.replace("stored_bits: 8", "stored: 8"), "- w6a16-int"])
def test_a_file_of_formats(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    path = tmp_path / "mine.yaml"
    monkeypatch.setenv("WHICHBITS_FORMATS", str(path))

    def read(text: str) -> None:
        path.write_text(text)
        formats.catalogue.__wrapped__()

    follow("form of the catalogue of formats", mistake=lambda: read(wrong), remedy=lambda: read(FORMAT))
    taken = FORMAT.replace("w6a16-int:", "w8a8-int:")
    follow("there is a format", mistake=lambda: read(taken), remedy=lambda: read(FORMAT))
    follow("there is a key-value cache", mistake=lambda: read(CACHE), remedy=lambda: read(CACHE.replace("kv-fp8", "kv-mine")))


@pytest.mark.parametrize("wrong", ["x1: [", "x1: {name: X1}", f"x1: {DEVICE.replace('nvidia', 'acme')}"])
def test_a_file_of_devices(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    path = tmp_path / "mine.yaml"
    monkeypatch.setenv("WHICHBITS_HARDWARE", str(path))

    def read(text: str) -> None:
        path.write_text(text)
        assert "x1" in hardware.catalogue.__wrapped__()

    follow("form of the catalogue of devices", mistake=lambda: read(wrong), remedy=lambda: read(f"x1: {DEVICE}"))
    for taken in (f"nvidia-l4: {DEVICE}", f"x1: {DEVICE.replace('X1', 'H100')}"):
        follow("there is a device", mistake=lambda taken=taken: read(taken), remedy=lambda: read(f"x1: {DEVICE}"))
