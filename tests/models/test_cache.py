from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.core.home import cache_directory
from whichbits.models.cache import file_sha256


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"WHICHBITS_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/whichbits")),
        ({}, Path.home() / ".cache" / "whichbits"),
    ],
)
def test_cache_directory(environment: dict[str, str], expected: Path) -> None:
    assert cache_directory(environment) == expected


def test_hash_is_computed_once_and_again_when_the_file_changes(tmp_path: Path) -> None:
    file, cache = tmp_path / "file", tmp_path / "cache"
    file.write_bytes(b"one")
    assert file_sha256(file, cache) == hashlib.sha256(b"one").hexdigest()
    (entry,) = (cache / "hashes").iterdir()
    entry.write_text(entry.read_text().replace(hashlib.sha256(b"one").hexdigest(), "remembered"))
    assert file_sha256(file, cache) == "remembered"
    file.write_bytes(b"two")
    os.utime(file, ns=(0, 0))
    assert file_sha256(file, cache) == hashlib.sha256(b"two").hexdigest()


def test_a_link_shares_the_entry_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    (tmp_path / "link").symlink_to("file")
    assert file_sha256(tmp_path / "link", tmp_path) == file_sha256(tmp_path / "file", tmp_path)
    assert len(list((tmp_path / "hashes").iterdir())) == 1


def test_a_broken_entry_is_computed_again(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    digest = file_sha256(tmp_path / "file", tmp_path)
    (entry,) = (tmp_path / "hashes").iterdir()
    entry.write_text("{")
    assert file_sha256(tmp_path / "file", tmp_path) == digest


def test_a_cache_that_cannot_be_written_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"one")
    (tmp_path / "hashes").write_text("a file where the folder should be")
    with pytest.raises(UserError) as caught:
        file_sha256(tmp_path / "file", tmp_path)
    assert "WHICHBITS_CACHE" in caught.value.remedy
