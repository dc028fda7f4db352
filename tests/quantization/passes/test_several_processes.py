"""One calibrated pass by several processes, which share the samples by gloo: the bytes of as many devices of one machine."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("numba")
load_file = pytest.importorskip("safetensors.torch").load_file

import whichbits  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.output.manifest import Manifest, ModuleError  # noqa: E402
from whichbits.quantization.passes import calibrated  # noqa: E402
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated  # noqa: E402
from whichbits.quantization.recipe.recipe import Calibration, Recipe  # noqa: E402

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.slow]

GPTQ = Recipe(rounding="gptq", calibration=Calibration(source="random", samples=36, length=256))
"""Five batches of 2048 tokens, the last of half as many."""

Errors = dict[str, float]
"""Relative error by module."""

CORRECTED = {"input_error_correction": 0.5, "residual_error_correction": 0.5}

RANK = """
import json, sys
from pathlib import Path
from whichbits.formats.catalogue import get
from whichbits.quantization.model.ranks import joined
from whichbits.quantization.passes.calibrated import Target, quantize_calibrated
from whichbits.quantization.recipe.recipe import Recipe

base, targets = Path(sys.argv[1]), json.loads(sys.argv[2])

def progress(done, total):
    print(done, flush=True)
    sys.stdin.readline()

with joined() as ranks:
    made = quantize_calibrated(
        base,
        [Target(get(name), Recipe.model_validate(recipe), Path(out)) for name, recipe, out in targets],
        on_progress=progress,
        ranks=ranks,
    )
print(json.dumps([{each.module: each.error for each in errors} for _, errors in made]))
"""


@dataclass(frozen=True)
class Launched:
    """A process of each rank."""

    processes: Sequence[subprocess.Popen[str]]

    def end(self) -> list[str]:
        """What each has printed, once all have ended well."""
        outputs = [process.communicate(timeout=240) for process in self.processes]
        assert [process.returncode for process in self.processes] == [0] * len(outputs), "\n".join(err for _, err in outputs)
        return [out for out, _ in outputs]


def launch(base: Path, targets: Sequence[Target], count: int, stdin: int = subprocess.DEVNULL) -> Launched:
    """`quantize_calibrated` by so many processes of one thread, as torchrun starts them; behind each layer they read a line."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = [(target.format.name, target.recipe.model_dump(mode="json"), str(target.out)) for target in targets]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return Launched(
        [
            subprocess.Popen(
                [sys.executable, "-c", RANK, str(base), json.dumps(asked)],
                env={**os.environ, **threads, **group, "RANK": str(rank)},
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(count)
        ]
    )


def on_devices(base: Path, targets: Sequence[Target], count: int, monkeypatch: pytest.MonkeyPatch) -> list[Errors]:
    """The same by one process, with so many devices: the CPU stands for each."""
    monkeypatch.setattr(calibrated, "computing_devices", lambda _: ("cpu",) * count)
    return errors_of(quantize_calibrated(base, targets))


def errors_of(made: Sequence[tuple[Manifest, Sequence[ModuleError]]]) -> list[Errors]:
    return [{each.module: each.error for each in errors} for _, errors in made]


def files(target: Target) -> dict[str, bytes]:
    return files_in(target.out)


def files_in(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def every_kind(folder: Path) -> list[Target]:
    """Recipes that exchange different things: Hessians, activation scales, the loss's weights, stored layers, cache scales."""
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "hessians": ("w4a16-int", {"propagate_error": False}),
        "static": ("w8a8-fp-static+kv-fp8", {"propagate_error": False, "balancing": 1.0}),
        "loss": ("w4a16-int", {"propagate_error": False, "fisher_samples": 2, "shrinkage": 0.3, "balancing": 1.0}),
        "rotated": ("w4a16-int", {"propagate_error": False, "fisher_samples": 1, "rotation": True}),
        "corrected": ("w4a16-int+kv-fp8", CORRECTED),
        "all": ("w8a8-int", {"fisher_samples": 2, **CORRECTED}),
    }
    return [Target(get(name), GPTQ.model_copy(update=own), folder / kind) for kind, (name, own) in kinds.items()]


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.nightly)])
def test_ranks_end_in_the_bytes_of_as_many_devices(
    block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Those of one device differ from them by the order in which float32 is summed."""
    launched = launch(block_llama, every_kind(tmp_path / "ranks"), count)
    on_devices(block_llama, every_kind(tmp_path / "devices"), count, monkeypatch)
    alone = on_devices(block_llama, every_kind(tmp_path / "one"), 1, monkeypatch)
    first, *others = launched.end()
    *calls, errors = first.splitlines()
    assert calls == [str(7 * step) for step in range(1, 13)]
    assert others == ["[]\n"] * (count - 1), "the first alone quantizes"
    assert json.loads(errors) == [pytest.approx(each, rel=0.01) for each in alone]
    for ranks, devices in zip(every_kind(tmp_path / "ranks"), every_kind(tmp_path / "devices"), strict=True):
        assert files(ranks) == files(devices)
    made = sorted(entry.name for entry in (tmp_path / "ranks").iterdir())
    assert made == sorted(target.out.name for target in every_kind(tmp_path)), "nothing else is left"


def two_kinds(folder: Path) -> list[Target]:
    """One that shares the base's statistics, and one that goes by the loss forwards, after it was asked on the way back."""
    hessians, *_, everything = every_kind(folder)
    return [hessians, everything]


def kill(base: Path, targets: Sequence[Target], victim: int) -> list[str]:
    """Start two ranks, and kill one when the first layer of both checkpoints is finished; what the other has said."""
    launched = launch(base, targets, 2, subprocess.PIPE)
    first, killed, other = launched.processes[0], launched.processes[victim], launched.processes[1 - victim]
    assert first.stdin is not None
    assert first.stdout is not None
    assert first.stdout.readline() == "7\n"
    first.stdin.write("\n")
    first.stdin.flush()
    assert first.stdout.readline() == "14\n"
    killed.kill()
    killed.communicate()
    _, said = other.communicate(timeout=240)  # closes its input, so it goes on
    assert other.returncode == 1
    return said


@pytest.fixture(scope="module")
def whole(block_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[Target]]:
    """Both kinds made without an interruption, by the number of devices."""
    folder = tmp_path_factory.mktemp("whole")
    found = {count: two_kinds(folder / str(count)) for count in (1, 2)}
    with pytest.MonkeyPatch.context() as monkeypatch:
        for count, targets in found.items():
            on_devices(block_llama, targets, count, monkeypatch)
    return found


@pytest.mark.parametrize("victim", [0, pytest.param(1, marks=pytest.mark.nightly)])
def test_killed_ranks_leave_layers_that_the_next_go_on_from(
    block_llama: Path, whole: dict[int, list[Target]], tmp_path: Path, victim: int
) -> None:
    said = kill(block_llama, two_kinds(tmp_path), victim)
    assert f"process {1 - victim} of 2 does not reach another" in said
    assert (two_kinds(tmp_path)[1].layers / "layer-00000.safetensors").exists()
    first, _ = launch(block_llama, two_kinds(tmp_path), 2).end()
    assert first.splitlines()[:-1] == ["21", "28"], "finished layers are not made again"
    assert [files(target) for target in two_kinds(tmp_path)] == [files(target) for target in whole[2]]
    assert len(list(tmp_path.iterdir())) == 2, "what the killed have left is gone"


@pytest.mark.parametrize(("before", "after"), [pytest.param(2, 1, marks=pytest.mark.nightly), (1, 2)])
def test_kept_layers_serve_another_number_of_ranks(
    block_llama: Path,
    whole: dict[int, list[Target]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: int,
    after: int,
) -> None:
    """Also what the loss says on the way back, which is asked once."""
    if before == 2:
        kill(block_llama, two_kinds(tmp_path), 1)
        on_devices(block_llama, two_kinds(tmp_path), 1, monkeypatch)
    else:

        def stop(done: int, total: int) -> None:
            if done == 14:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            quantize_calibrated(block_llama, two_kinds(tmp_path), on_progress=stop)
        gc.collect()  # the lock of its folders goes with its frames
        first, _ = launch(block_llama, two_kinds(tmp_path), 2).end()
        assert first.splitlines()[:-1] == ["21", "28"]
    hessians, everything = (load_file(target.out / "model.safetensors") for target in two_kinds(tmp_path))
    for target, found in zip(whole[before], (hessians, everything), strict=True):
        made = load_file(target.out / "model.safetensors")
        assert all(torch.equal(found[name], made[name]) for name in made if ".layers.0." in name)
    made = load_file(whole[after][0].out / "model.safetensors")
    assert all(torch.equal(hessians[name], made[name]) for name in made if ".layers.1." in name)


def test_torchrun_starts_the_command(block_llama: Path, tmp_path: Path) -> None:
    """With the default recipe, whose text the first process generates; the others say nothing, and write nothing."""
    asked = ["--format", "w4a16-int", "--format", "w8a8-fp", "--samples", "16", "--seq-length", "256", "--json"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "whichbits"]
    command = [*torchrun, "quantize", str(block_llama), *asked, "--out", str(tmp_path / "out")]
    made = subprocess.run(command, stdout=subprocess.PIPE, timeout=240, check=True, text=True)
    alone = whichbits.quantize(
        str(block_llama), ["w4a16-int", "w8a8-fp"], tmp_path / "alone", calibration="self", samples=16, seq_length=256
    )
    rows = json.loads(made.stdout)
    assert [row["format"] for row in rows] == ["w4a16-int", "w8a8-fp"]
    for row, one in zip(rows, alone, strict=True):
        found = {each["module"]: each["error"] for each in row["modules"]}
        assert found == pytest.approx({each.module: each.error for each in one.modules}, rel=0.01)
        assert sorted(files_in(Path(row["folder"]))) == sorted(files_in(one.folder))
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["w4a16-int", "w8a8-fp"]
    again = subprocess.run(command, stderr=subprocess.PIPE, timeout=240, check=False, text=True)
    assert again.returncode == 1, "torchrun's own"
    assert "w4a16-int exists" in again.stderr
