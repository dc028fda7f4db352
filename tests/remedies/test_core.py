"""Remedies of whichbits.core."""

from __future__ import annotations

import gzip
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.home import cache_directory, cache_errors, expand
from whichbits.core.terminal import speak_utf8
from whichbits.core.text import json_lines, parse_json, read_bytes, read_text


@pytest.fixture
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without HOME whom passwd does not know."""

    def unknown(_: int) -> None:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "WHICHBITS_CACHE"):
        monkeypatch.delenv(name, raising=False)


def test_a_home_that_is_not_known(follow: Any, nobody: None, tmp_path: Path):
    follow(
        "the home folder of this user is not known",
        mistake=lambda: expand("~/model"),
        remedy=lambda: expand(str(tmp_path / "model")),
    )


def test_no_cache_directory(follow: Any, nobody: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def name_a_folder():
        monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path))
        assert cache_directory() == tmp_path

    follow("there is no cache directory", mistake=cache_directory, remedy=name_a_folder)


def test_a_cache_that_cannot_be_written(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def keep():
        path = cache_directory() / "hashes.json"
        with cache_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")

    def name_a_folder():
        monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "cache"))
        keep()

    (tmp_path / "file").touch()
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "file"))
    follow("in the cache directory cannot be written", mistake=keep, remedy=name_a_folder)


@contextmanager
def called_with(argument: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["whichbits", argument])
        patch.setattr("whichbits.core.terminal._foreign_locale", lambda: False)
        yield


def test_a_name_that_is_not_utf8(follow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    foreign = tmp_path / os.fsdecode(b"model-\xff")
    foreign.mkdir()

    def call(path: str):
        with called_with(path, monkeypatch):
            speak_utf8()
            assert Path(path).is_dir()

    def link():
        (tmp_path / "link").symlink_to(foreign)
        call(str(tmp_path / "link"))

    def rename():
        foreign.rename(tmp_path / "model")
        call(str(tmp_path / "model"))

    for remedy in (link, rename):
        follow("{shown} is not UTF-8", mistake=lambda: call(str(foreign)), remedy=remedy)


def test_a_file_that_cannot_be_read(follow: Any, tmp_path: Path):
    (tmp_path / "text").write_text("a")
    follow(
        "{name} cannot be read ({strerror})",
        mistake=lambda: read_bytes(tmp_path, "text"),
        remedy=lambda: read_bytes(tmp_path / "text", "text"),
    )


def test_a_file_that_is_not_utf8(follow: Any, tmp_path: Path):
    path = tmp_path / "text"
    path.write_text("größe", encoding="latin-1")

    def save():
        path.write_text("größe", encoding="utf-8")
        assert read_text(path, "text") == "größe"

    follow("{name} line {line} is not UTF-8", mistake=lambda: read_text(path, "text"), remedy=save)


@pytest.mark.parametrize(
    ("error", "content"),
    [
        ("{name} is {what}, not text in UTF-8", "größe".encode("utf-16")),
        ("{name} is {what}, not text in UTF-8", gzip.compress("größe".encode(), mtime=0)),
        ("{name} line {line} holds a NUL", "größe".encode("utf-16-le")),
    ],
)
def test_a_file_of_another_kind(follow: Any, tmp_path: Path, error: str, content: bytes):
    path = tmp_path / "text"
    path.write_bytes(content)

    def save():
        path.write_text("größe", encoding="utf-8")
        assert read_text(path, "text") == "größe"

    follow(error, mistake=lambda: read_text(path, "text"), remedy=save)


@pytest.mark.parametrize(
    ("written", "fixed", "says"),
    [
        (b'{"a":\n1}', b'{"a": 1}', "one JSON object a line"),
        ('{"a": "ö"}'.encode("latin-1"), '{"a": "ö"}'.encode(), "save the file as UTF-8"),
        (b'{"a": ' + b"1" * 5000 + b"}", b'{"a": 1}', "fewer digits"),
        (b"[" * 100_000 + b"]" * 100_000, b"[[]]", "fewer lists in lists"),
        (rb'{"a": "\ud83d"}', '{"a": "😀"}'.encode(), "characters themselves"),
        (rb'{"a": "\ud83d"}', rb'{"a": "\ud83d\ude00"}', r"both \u escapes"),
    ],
)
def test_lines_that_are_not_json(follow: Any, written: bytes, fixed: bytes, says: str):
    error = follow(
        "{where}, text: {problem}",
        mistake=lambda: list(json_lines(written, "items")),
        remedy=lambda: list(json_lines(fixed, "items")),
    )
    assert says in error.remedy


def test_a_whole_file_that_is_not_json(follow: Any):
    error = follow(
        "{where}, text: {problem}",
        mistake=lambda: parse_json(b'{"a": 1}\n{"a": 2}', "items", form="a JSON list of objects"),
        remedy=lambda: parse_json(json.dumps([{"a": 1}, {"a": 2}]).encode(), "items", form="a JSON list of objects"),
    )
    assert error.remedy == "write a JSON list of objects"
