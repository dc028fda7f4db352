"""What `compare` makes of its candidate's name."""

from __future__ import annotations

from pathlib import Path

import pytest

import whichbits
from whichbits.studies.specification.schema import Specification


@pytest.mark.parametrize(
    ("candidate", "format", "checkpoint"),
    [("w8a8-fp", "w8a8-fp", None), ("w8a8-fp+kv-fp8", "w8a8-fp+kv-fp8", None), ("some/folder", None, "some/folder")],
)
def test_a_name_with_a_cache_is_a_format_too(
    candidate: str, format: str | None, checkpoint: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    asked: list[Specification] = []

    def run_part(part: Specification, *rest: object) -> list[object]:
        asked.append(part)
        return []

    monkeypatch.setattr("whichbits.api.compare.run_part", run_part)
    assert whichbits.compare("base/model", candidate, store=tmp_path) == ()
    (column,) = asked[0].candidates
    assert (column.format, column.checkpoint) == (format, checkpoint)
