"""A hub of our own on this machine: what is fetched of a model, and what is not."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from whichbits.models.resolve import resolve

COMMIT = "c" * 40
CONFIG = {"model_type": "llama", "dtype": "bfloat16", "max_position_embeddings": 64}
INDEX = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
SMALL = {"config.json": json.dumps(CONFIG), "model.safetensors.index.json": json.dumps(INDEX), "tokenizer.json": "{}"}
LARGE = {
    name: hashlib.sha256(name.encode()).hexdigest()
    for name in ("model-1.safetensors", "model-2.safetensors", "other.safetensors")
}


class Hub(BaseHTTPRequestHandler):
    """Answers for one model, whose weights it does not have."""

    asked: list[str]

    def answer(self, body: str, **headers: str) -> None:
        self.send_response(200)
        for name, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append(path)
        name = path.rpartition("/")[2]
        if path.startswith("/api/models/owner/name/tree/"):
            small = [{"type": "file", "path": n, "size": len(t), "oid": "0" * 40} for n, t in SMALL.items()]
            large = [{"type": "file", "path": n, "size": 9**12, "oid": "0" * 40} for n in LARGE]
            self.answer(json.dumps(small + large))
        elif path.startswith("/api/models/owner/name"):
            small = [{"rfilename": n, "size": len(t), "blobId": "0"} for n, t in SMALL.items()]
            large = [{"rfilename": n, "lfs": {"sha256": h, "size": 9**12, "pointerSize": 9}} for n, h in LARGE.items()]
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": small + large}))
        elif name in SMALL:
            etag = hashlib.sha256(SMALL[name].encode()).hexdigest()
            self.answer(SMALL[name], ETag=f'"{etag}"', **{"X-Repo-Commit": COMMIT})
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing: the tests read `asked`."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    constants = pytest.importorskip("huggingface_hub.constants")
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"asked": asked}))
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()


def test_a_plan_needs_no_weights(hub: list[str], tmp_path: Path) -> None:
    model = resolve("owner/name", cache=tmp_path / "cache", weights=False)
    assert model.files == {
        **{name: hashlib.sha256(text.encode()).hexdigest() for name, text in SMALL.items()},
        **{name: LARGE[name] for name in ("model-1.safetensors", "model-2.safetensors")},
    }
    assert (model.dtype, model.max_positions) == ("bfloat16", 64)
    assert not any(path.endswith(".safetensors") for path in hub)
