"""A hub of our own on this machine: what is fetched of a model, and what is not."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from whichbits.core.errors import UserError
from whichbits.formats.checkpoint.files import INDEX
from whichbits.models.resolve import resolve

COMMIT = "c" * 40


class Hub(BaseHTTPRequestHandler):
    """Answers for one model, whose weights it does not give."""

    asked: list[str]
    small: dict[str, str]
    large: dict[str, str]

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
            small = [{"type": "file", "path": n, "size": len(t), "oid": "0" * 40} for n, t in self.small.items()]
            large = [{"type": "file", "path": n, "size": 9**12, "oid": "0" * 40} for n in self.large]
            self.answer(json.dumps(small + large))
        elif path.startswith("/api/models/owner/name"):
            small = [{"rfilename": n, "size": len(t), "blobId": "0"} for n, t in self.small.items()]
            large = [{"rfilename": n, "lfs": {"sha256": h, "size": 9**12, "pointerSize": 9}} for n, h in self.large.items()]
            self.answer(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": small + large}))
        elif name in self.small:
            etag = hashlib.sha256(self.small[name].encode()).hexdigest()
            self.answer(self.small[name], ETag=f'"{etag}"', **{"X-Repo-Commit": COMMIT})
        else:
            self.send_error(404)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Nothing: the tests read `asked`."""


@pytest.fixture
def sharded(make: Callable[..., Path]) -> Path:
    """Folder of a model with an index, which names one file twice as long as needed: only its hash is asked for."""
    from safetensors import safe_open

    folder = make()
    with safe_open(folder / "model.safetensors", "pt") as file:
        names = list(file.keys())
    (folder / "model.safetensors").rename(folder / "model-1.safetensors")
    (folder / INDEX).write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-1.safetensors")}))
    return folder


@pytest.fixture
def hub(tmp_path: Path, sharded: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    constants = pytest.importorskip("huggingface_hub.constants")
    asked: list[str] = []
    small = {file.name: file.read_text() for file in sharded.iterdir() if file.suffix == ".json"}
    large = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("model-1.safetensors", "other.safetensors")}
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Hub,), {"asked": asked, "small": small, "large": large}))
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    Thread(target=server.serve_forever, daemon=True).start()
    yield asked
    server.shutdown()


def test_a_plan_needs_no_weights(hub: list[str], sharded: Path, tmp_path: Path) -> None:
    model = resolve("owner/name", cache=tmp_path / "cache", weights=False)
    own = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", INDEX}
    small = {name: hashlib.sha256((sharded / name).read_bytes()).hexdigest() for name in own}
    name = "model-1.safetensors"
    assert model.files == small | {name: hashlib.sha256(name.encode()).hexdigest()}
    assert (model.dtype, model.max_positions, model.bytes) == ("bfloat16", 128, 9**12)
    assert model.shapes["model.layers.1.mlp.down_proj.weight"] == (32, 64)
    assert not any(path.endswith(".safetensors") for path in hub)


def cached(make: Callable[..., Path], hub_cache: Path, revision: str = "main") -> Path:
    """A model in the hub's cache, its weights behind a link, as huggingface_hub keeps them."""
    repository = hub_cache / "models--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / revision).write_text("a" * 40)
    (repository / "snapshots").mkdir()
    folder = Path(shutil.copytree(make(), repository / "snapshots" / ("a" * 40)))
    shutil.move(folder / "model.safetensors", repository / "blob")
    (folder / "model.safetensors").symlink_to(repository / "blob")
    return folder


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("revision", ["", "@v2"])
@pytest.mark.parametrize("offline", [True, False])
def test_without_a_network_the_hubs_cache_serves(
    offline: bool, revision: str, weights: bool, make: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    folder = cached(make, tmp_path, revision.removeprefix("@") or "main")
    model = resolve(f"owner/name{revision}", cache=tmp_path / "cache", weights=weights)
    assert model.path == folder
    assert "model.safetensors" in model.files


@pytest.mark.parametrize("weights", [True, False])
def test_neither_a_network_nor_a_cache_is_said_in_one_line(
    weights: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for offline, message in ((False, "could not be downloaded"), (True, "not in the hub's cache")):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(UserError, match=message) as caught:
            resolve("owner/name", cache=tmp_path / "cache", weights=weights)
        assert "\n" not in str(caught.value)
