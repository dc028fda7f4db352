from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.reporting.write import write
from whichbits.verdict.verdict import Verdict


def test_both_files_are_written(verdict, context, tmp_path):
    written = write(verdict, context, tmp_path / "studies" / "demo")
    assert sorted(p.name for p in written.html.parent.iterdir()) == ["report.html", "verdict.json"]
    assert Verdict.model_validate_json(written.verdict.read_text(encoding="utf-8")) == verdict
    assert written.html.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_same_study_gives_the_same_bytes(verdict, context, tmp_path):
    first, second = (write(verdict, context, tmp_path / name) for name in "ab")
    assert first.html.read_bytes() == second.html.read_bytes()


def test_a_folder_that_is_a_file_is_named(verdict, context, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file.verdict\.json"):
        write(verdict, context, Path(tmp_path / "file"))
