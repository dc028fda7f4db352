"""Importers by what they recognize, those of other packages among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.studies.store.importers.registry import IMPORTERS, read

OUTSIDE = '''\
from whichbits.studies.store.importers.importer import ImportedItem, ImportedRun, ImportedTask, Importer


class TsvImporter(Importer):
    """Scores in two columns."""

    name = "tsv"
    reads = "a file *.tsv"

    def recognizes(self, path):
        return path.suffix == ".tsv"

    def read(self, path, metric):
        rows = [line.split("\\t") for line in path.read_text().splitlines()]
        items = tuple(ImportedItem(item=name, prompt=name, target="", score=float(score)) for name, score in rows)
        return ImportedRun("tsv", path, path.stem, "unknown", (), (ImportedTask("ours", metric or "acc", (), items),))
'''


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which a package with an importer is installed."""
    package = tmp_path / "tsv-1.0.dist-info"
    package.mkdir()
    (tmp_path / "tsv_importer.py").write_text(OUTSIDE)
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: tsv\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text("[whichbits.importers]\ntsv = tsv_importer:TsvImporter\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_an_importer_of_another_package_decides_as_ours_do(outside: Path) -> None:
    import whichbits

    for name, lost in (("model", 0), ("model-int4", 90)):
        scores = [f"{i}\t{int(i % 10 < 7 and i >= lost)}" for i in range(300)]
        (outside / f"{name}.tsv").write_text("\n".join(scores))
    assert IMPORTERS.names()[-1] == "tsv"
    outcome = whichbits.evaluate_from(outside / "model.tsv", outside / "model-int4.tsv", store=outside / "store")
    assert [each.state for each in outcome.verdict.formats] == ["base", "inferior"]
    assert outcome.verdict.tasks[0].score == pytest.approx(147 / 300)


def test_what_no_importer_knows(outside: Path) -> None:
    (outside / "notes.txt").write_text("hello")
    with pytest.raises(UserError, match="no results that are known") as raised:
        read(outside / "notes.txt")
    for name in IMPORTERS.names():
        assert f"({name})" in raised.value.remedy


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is not there"):
        read(tmp_path / "nothing")
