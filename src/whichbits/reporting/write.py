"""The files of the report."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from whichbits.core.files import write_atomically
from whichbits.reporting.context import ReportContext
from whichbits.reporting.page import render
from whichbits.verdict.verdict import Verdict


class Written(NamedTuple):
    """Where the report lies."""

    html: Path
    verdict: Path


def write(verdict: Verdict, context: ReportContext, folder: Path) -> Written:
    """Write `report.html` and `verdict.json` into `folder`, which is made if need be.

    Raises:
        UserError: the folder cannot be written.
    """
    written = Written(folder / "report.html", folder / "verdict.json")
    write_atomically(written.verdict, verdict.model_dump_json(indent=2) + "\n")
    write_atomically(written.html, render(verdict, context))
    return written
