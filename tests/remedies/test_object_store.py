"""What users meet who keep a study in an object store."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.inputs import Inputs
from whichbits.schema.step import Step
from whichbits.studies.store import objects
from whichbits.studies.store.object_store import ObjectStore
from whichbits.studies.store.place import open_folder, open_store


def test_an_address_without_a_folder(follow: Callable[..., UserError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path))
    follow(
        "does not name a bucket and a folder in it",
        mistake=lambda: open_store("s3://bucket"),
        remedy=lambda: open_store("s3://bucket/mine"),
    )


def test_an_address_of_another_kind(follow: Callable[..., UserError], tmp_path: Path):
    follow(
        "is of no kind that is known",
        mistake=lambda: open_store("hdfs://bucket/mine"),
        remedy=lambda: open_store(tmp_path / "mine"),
    )


def test_array_jobs_of_a_store_in_s3(follow: Callable[..., UserError], tmp_path: Path):
    follow(
        "array jobs need a folder",
        mistake=lambda: open_folder("s3://bucket/mine"),
        remedy=lambda: open_folder(tmp_path / "mine"),
    )


def test_s3_without_its_package(follow: Callable[..., UserError], monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("s3fs")

    def without(name: str, *arguments: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("s3fs", "aiohttp", "botocore"):
            raise ImportError(name)
        return plain(name, *arguments, **more)

    plain = builtins.__import__
    objects.file_system.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(builtins, "__import__", without)
        error = follow(
            "needs s3fs, which is not installed",
            mistake=lambda: objects.Objects("s3://bucket/mine").read("name"),
            remedy=lambda: setattr(builtins, "__import__", plain),
        )
    assert "whichbits[s3]" in error.remedy
    objects.file_system(os.getpid())
    objects.file_system.cache_clear()


def test_s3_without_credentials(follow: Callable[..., UserError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("s3fs")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setattr(objects, "PATIENCE_S", 0.0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    objects.file_system.cache_clear()

    def with_credentials() -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
        objects.file_system.cache_clear()
        with pytest.raises(OSError, match="does not answer"):  # it goes on to ask
            objects.Objects("s3://bucket/mine").write("name", b"")

    follow(
        "no credentials for s3:// are found",
        mistake=lambda: objects.Objects("s3://bucket/mine").write("name", b""),
        remedy=with_credentials,
    )
    objects.file_system.cache_clear()


def test_a_damaged_object_of_a_finished_step(follow: Callable[..., UserError], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path))
    store = ObjectStore("s3://bucket/mine")
    step = Step("generate", 1, Inputs())
    kept = {f"steps/generate/{step.key}.json": b"{garbage"}
    monkeypatch.setattr(store._objects, "read", kept.get)
    error = follow("is damaged", mistake=lambda: store.done(step), remedy=kept.clear)
    assert "delete this object" in error.remedy
    assert not store.done(step)
