"""The remedies of `whichbits.quantize`, followed."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from whichbits.formats.catalogue import get
from whichbits.models.configuration import Configuration
from whichbits.quantization.mixed_precision.knapsack import Option, assign
from whichbits.quantization.model.structure import layer_linears
from whichbits.quantization.passes.layer_store import LayerStore
from whichbits.quantization.recipe.effort import recipe_for
from whichbits.quantization.recipe.options import budget_of, source_of
from whichbits.quantization.recipe.presets import recipe_fields
from whichbits.quantization.recipe.recipe import parse

WITH = "model.layers.0.mlp.up_proj.weight"


def test_a_budget_that_is_none(follow: Any) -> None:
    for text in ("4.5bits", "0.01error"):
        raised = follow("budget {text} is none", mistake=lambda: budget_of("4.5"), remedy=partial(budget_of, text))
        assert text in raised.remedy


OPTIONS = [Option("a", "w4a16-int", 4.0, 2.0), Option("a", "w8a8-int", 8.0, 1.0)]


@pytest.mark.parametrize("helps", [{"bits": 4}, {"bits": 3, "options": [*OPTIONS, Option("a", "smaller", 2.0, 9.0)]}])
def test_a_budget_of_bits(follow: Any, helps: dict[str, Any]) -> None:
    follow(
        "that the smallest formats take",
        mistake=lambda: assign(OPTIONS, bits=3),
        remedy=lambda: assign(**{"options": OPTIONS, **helps}),
    )


@pytest.mark.parametrize("helps", [{"error": 1}, {"error": 0.5, "options": [*OPTIONS, Option("a", "bf16", 16.0, 0.0)]}])
def test_a_budget_of_error(follow: Any, helps: dict[str, Any]) -> None:
    follow(
        "that the most exact formats make",
        mistake=lambda: assign(OPTIONS, error=0.5),
        remedy=lambda: assign(**{"options": OPTIONS, **helps}),
    )


def test_a_calibration_in_one_word(follow: Any, tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("text")
    follow(
        "calibration file {name} does not exist",
        mistake=lambda: source_of(str(tmp_path / "test.txt")),
        remedy=lambda: source_of(str(file)),
    )
    follow(
        "is no option of a data set",
        mistake=lambda: source_of("owner/name,part=train"),
        remedy=lambda: source_of("owner/name,split=train,config=main,fields=a+b,revision=main"),
    )


def test_an_effort(follow: Any) -> None:
    raised = follow(
        "effort {effort} is not known",
        mistake=lambda: recipe_for(get("w8a8-int"), "most", {}),
        remedy=lambda: recipe_for(get("w8a8-int"), "best", {}),
    )
    for effort in raised.remedy.removeprefix("choose one of ").split(", "):
        recipe_for(get("w8a8-int"), effort, {})


@pytest.mark.parametrize(
    ("mistake", "remedies"),
    [
        ({"rounding": "gptq", "damp": 0.1}, [{"rounding": "gptq", "damping": 0.1}]),
        ({"calibration": {"sample": 8}}, [{"calibration": {"samples": 8}}]),
        ({"layers": [{"match": "re:.*"}]}, [{"layers": [{"match": "re:.*", "format": "bf16"}]}]),
        ({"rounding": "gptq", "damping": "much"}, [{"rounding": "gptq", "damping": 0.1}, {"rounding": "gptq"}]),
        ({"calibration": {"source": "text"}}, [{"calibration": {"source": "text", "file": "a.txt"}}, {}]),
        ({"smoothing": 0.5, "balancing": 1.0}, [{"smoothing": 0.5}, {"balancing": 1.0}]),
        (
            {"rounding": "gptq", "input_error_correction": 0.5, "propagate_error": False},
            [{"rounding": "gptq", "input_error_correction": 0.5}, {"rounding": "gptq", "propagate_error": False}],
        ),
    ],
)
def test_fields_of_a_recipe(follow: Any, mistake: dict[str, Any], remedies: list[dict[str, Any]]) -> None:
    for fields in remedies:
        follow("{…}: {message}{value}", mistake=lambda: parse(mistake), remedy=partial(parse, fields))


@pytest.mark.parametrize("idle", [{"damping": 0.1}, {"damping": 0.1, "fisher_samples": 1, "propagate_error": False}])
def test_a_field_that_does_nothing(follow: Any, idle: dict[str, Any]) -> None:
    for fields in ({"rounding": "rtn"}, {"rounding": "gptq", **idle}):
        raised = follow(
            "{…}: {message}{value}", mistake=lambda: parse({"rounding": "rtn", **idle}), remedy=partial(parse, fields)
        )
    assert raised.remedy == f"leave {', '.join(sorted(idle))} out, or choose rounding: gptq"


def test_a_recipe_by_name(follow: Any, tmp_path: Path) -> None:
    raised = follow(
        "is neither a file nor a name", mistake=lambda: recipe_fields("nearst"), remedy=lambda: recipe_fields("nearest")
    )
    assert raised.remedy.startswith("did you mean nearest? ")
    for name in raised.remedy.partition("names: ")[2].split(", "):
        parse({key: value for key, value in recipe_fields(name).items() if key != "effort"})
    follow(
        "recipe.like: {like} is no other recipe",
        mistake=lambda: recipe_fields({"like": 3}),
        remedy=lambda: recipe_fields({"like": "nearest"}),
    )
    file = tmp_path / "own.yaml"
    file.write_text(f"like: {file}\n")
    follow(
        "recipe.like: {like} is no other recipe",
        mistake=lambda: recipe_fields(file),
        remedy=lambda: (file.write_text("like: nearest\n"), recipe_fields(file)),
    )


@pytest.mark.parametrize(
    ("error", "content"),
    [
        ("recipe {path} cannot be read", None),
        ("recipe {path} cannot be read", b"\xff\xfe\x00"),
        ("{what} is not YAML", b"rounding: [gptq"),
        ("{what} holds no fields", b"gptq"),
    ],
)
def test_a_recipe_in_a_file(follow: Any, tmp_path: Path, error: str, content: bytes | None) -> None:
    file = tmp_path / "own.yaml"
    if content is not None:
        file.write_bytes(content)
    follow(
        error,
        mistake=lambda: recipe_fields(file),
        remedy=lambda: (file.write_text("rounding: gptq\n"), parse(recipe_fields(file))),
    )


def test_a_folder_in_use(follow: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".out.layers"
    folder.mkdir()
    hold = (
        "import fcntl, sys; file = open(sys.argv[1], 'w'); fcntl.lockf(file, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    command = [sys.executable, "-c", hold, str(folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "held\n"
        follow(
            "is in use: another run makes the same checkpoint",
            mistake=lambda: LayerStore(folder, {}),
            remedy=lambda: LayerStore(tmp_path / "other", {}),
        )
        other.stdin.close()
        other.wait()
    LayerStore(folder, {})


def test_another_setting_than_the_kept_layers(follow: Any, tmp_path: Path) -> None:
    folder = tmp_path / ".out.layers"
    LayerStore(folder, {"seed": 0})

    def delete() -> None:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        LayerStore(folder, {"seed": 1})

    follow(
        "holds layers of an interrupted pass with another",
        mistake=lambda: LayerStore(folder, {"seed": 1}),
        remedy=lambda: LayerStore(folder, json.loads((folder / "settings.json").read_text())),
    )
    follow("holds layers of an interrupted pass", mistake=lambda: LayerStore(folder, {"seed": 1}), remedy=delete)


def llama(**fields: Any) -> Configuration:
    sizes = {"layers": 1, "hidden": 64, "heads": 4, "kv_heads": 4, "head_dim": 16, "vocabulary": 64, "max_positions": 128}
    return Configuration(**{"model_type": "llama", "architecture": None, "dtype": None, "tied": False, **sizes, **fields})


@pytest.mark.parametrize(
    ("error", "fields", "names"),
    [
        ("the base is quantized already", {"quantization": {"quant_method": "fp8"}}, [WITH]),
        ("the base holds an adapter that is not merged into it", {}, [WITH, WITH.replace("weight", "lora_A.weight")]),
    ],
)
def test_a_base_in_16_bit(follow: Any, error: str, fields: dict[str, Any], names: list[str]) -> None:
    follow(
        error,
        mistake=lambda: layer_linears(llama(**fields), dict.fromkeys(names, (64, 64))),
        remedy=lambda: layer_linears(llama(), {WITH: (64, 64)}),
    )


def test_devices(follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from whichbits.quantization.model.devices import computing_devices

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for names in ("cpu", "cuda", "cuda:0,cuda:1"):
        follow(
            "device: {name} is not known", mistake=lambda: computing_devices("gpu"), remedy=partial(computing_devices, names)
        )
    follow(
        "is not a list of different GPUs",
        mistake=lambda: computing_devices("cuda:0,cuda"),
        remedy=lambda: computing_devices("cuda:0,cuda:1"),
    )
    for given in (None, "cpu"):
        follow(
            "device: this machine has no {name}",
            mistake=lambda: computing_devices("cuda:2"),
            remedy=partial(computing_devices, given),
        )


def test_folders(follow: Any, tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    from whichbits.quantization.output.folder import folder_aside, make_parent, refuse_existing

    out = tmp_path / "out"
    out.mkdir()
    follow("{out} exists already", mistake=lambda: refuse_existing(out), remedy=lambda: refuse_existing(tmp_path / "another"))
    (tmp_path / "file").write_text("text")
    follow(
        "cannot be made or written ({reason})",
        mistake=lambda: make_parent(tmp_path / "file" / "w8a8-int"),
        remedy=lambda: make_parent(tmp_path / "folder" / "w8a8-int"),
    )
    follow("{out} exists already", mistake=lambda: refuse_existing(out), remedy=lambda: (out.rmdir(), refuse_existing(out)))

    def make(needed: int) -> None:
        with folder_aside(out, needed=needed):
            pass

    follow("MB free and a checkpoint may take", mistake=lambda: make(2**60), remedy=lambda: make(1))
