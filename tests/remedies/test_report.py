"""Remedies of whichbits.report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whichbits.core.files import write_atomically


def test_a_report_that_cannot_be_written(follow: Any, tmp_path: Path):
    (tmp_path / "file").touch()
    follow(
        "cannot write {path}",
        mistake=lambda: write_atomically(tmp_path / "file" / "report.html", ""),
        remedy=lambda: write_atomically(tmp_path / "folder" / "report.html", ""),
    )
