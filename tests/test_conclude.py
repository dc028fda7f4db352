"""What a store's files say, and when they must not be believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whichbits.conclude import read_verdict
from whichbits.verdict.decide import decide
from whichbits.verdict.findings import Findings


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a verdict that is newer than its ledger."""
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="m")
    for name, text, second in (("study.json", "{}", 1), ("verdict.json", verdict.model_dump_json(), 2)):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (second, second))
    return tmp_path


def test_a_verdict_is_read_back(store: Path):
    verdict = read_verdict(store)
    assert verdict is not None
    assert verdict.study == "s"


def test_a_verdict_from_before_the_last_run_is_not_believed(store: Path):
    os.utime(store / "study.json", (3, 3))
    assert read_verdict(store) is None


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b'{"study": ', b"{}"])
def test_a_verdict_that_cannot_be_read_is_none(store: Path, content: bytes | None):
    (store / "verdict.json").unlink()
    if content is not None:
        (store / "verdict.json").write_bytes(content)
    assert read_verdict(store) is None
