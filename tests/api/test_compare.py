"""What `compare` makes of its candidate's name."""

from __future__ import annotations

from pathlib import Path

import pytest

import whichbits
from whichbits.studies.specification.schema import Specification


@pytest.mark.parametrize(
    ("candidate", "format", "checkpoint"),
    [
        ("w8a8-fp", "w8a8-fp", None),
        ("w8a8-fp+kv-fp8", "w8a8-fp+kv-fp8", None),
        ("FP8+kv-fp8", "w8a8-fp+kv-fp8", None),
        ("int4", "w4a16-int", None),
        ("int8", None, "int8"),
        ("some/folder", None, "some/folder"),
    ],
)
def test_a_name_with_a_cache_and_an_alias_are_formats_too(
    candidate: str, format: str | None, checkpoint: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """`int8` is a folder here, and then no alias."""
    (tmp_path / "int8").mkdir()
    monkeypatch.chdir(tmp_path)
    asked: list[Specification] = []

    def run_part(part: Specification, *rest: object) -> list[object]:
        asked.append(part)
        return []

    monkeypatch.setattr("whichbits.api.compare.run_part", run_part)
    assert whichbits.compare("base/model", candidate, store=tmp_path / "store") == ()
    (column,) = asked[0].candidates
    assert (column.format, column.checkpoint) == (format, checkpoint)
