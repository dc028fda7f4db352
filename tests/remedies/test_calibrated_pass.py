"""Remedies of what the calibrated pass meets in a model."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from whichbits.formats.catalogue import get
from whichbits.models.configuration import read_configuration
from whichbits.quantization.model.structure import layer_linears
from whichbits.quantization.recipe.effort import recipe_for
from whichbits.quantization.recipe.presets import recipe_fields
from whichbits.quantization.recipe.recipe import parse

NAME = "model.layers.0.mlp.up_proj.weight"


def rounded(weight: Any, hessian: Any, rounding: str = "gptq") -> None:
    """Quantize one weight to INT8, its inputs' Hessian given."""
    from whichbits.quantization.passes.layer import quantize_layer
    from whichbits.quantization.statistics.forward import InputStatistics

    fed = None if hessian is None else {NAME: InputStatistics(hessian, hessian.diagonal().abs().sqrt())}
    list(quantize_layer({NAME: weight}, get("w8a8-int"), parse({"rounding": rounding}), fed))


def test_hessians(follow: Any) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("numba")
    weight, good = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).bfloat16(), torch.eye(4)
    indefinite = torch.eye(4) + 9 * (torch.eye(4).flip(0))
    for remedy in (lambda: rounded(weight, indefinite, "rtn"), lambda: rounded(weight, good)):
        raised = follow("{module}: {error}", mistake=lambda: rounded(weight, indefinite), remedy=remedy)
        assert "no Cholesky factorisation" in raised.message
    infinite = torch.full((4, 4), float("inf"))
    raised = follow("{module}: {error}", mistake=lambda: rounded(weight, infinite), remedy=lambda: rounded(weight, good))
    assert raised.remedy == "look at what the model makes of the calibration text, or give other text"
    raised = follow("{module}: {error}", mistake=lambda: rounded(weight.half(), infinite), remedy=lambda: rounded(weight, good))
    assert raised.remedy.startswith("save the model in bfloat16")


def test_numbers_that_are_not_finite(follow: Any) -> None:
    torch = pytest.importorskip("torch")
    from whichbits.quantization.model.finite import STORED, check_states, check_tensors

    good, bad = torch.ones(2, 2), torch.full((2, 2), float("nan"))
    for made_by in (STORED, "after awq"):
        follow(
            "holds numbers that are not finite, {made_by}",
            mistake=lambda: check_tensors({NAME: bad}, made_by),  # noqa: B023
            remedy=lambda: check_tensors({NAME: good}, made_by),  # noqa: B023
        )
    large = torch.full((2, 2), 300.0)
    follow(
        "they leave the range of FP16",
        mistake=lambda: check_states([large.half() * large.half()], "states"),
        remedy=lambda: check_states([large.bfloat16() * large.bfloat16()], "states"),
    )
    follow(
        "{what} are not finite", mistake=lambda: check_states([bad], "states"), remedy=lambda: check_states([good], "states")
    )


def copied(base: Path, folder: Path, edit: Callable[[dict[str, Any]], Any] | None = None, **fields: Any) -> Path:
    """The base with other tensors and another config.json."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(base, folder)
    tensors = load_file(folder / "model.safetensors")
    if edit is not None:
        edit(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text()) | fields
    (folder / "config.json").write_text(json.dumps(config))
    return folder


EXTRA = "model.layers.0.mlp.extra.weight"


def _extra(tensors: dict[str, Any]) -> None:
    tensors[EXTRA] = tensors[NAME].clone()


def test_structures_that_are_not_understood(follow: Any, base: Path, tmp_path: Path) -> None:
    """Rounding to nearest makes a checkpoint of a model that the calibrated pass does not understand."""
    torch = pytest.importorskip("torch")
    from whichbits.formats.checkpoint.experts import separate_experts
    from whichbits.quantization.model.decoder import fill, final_norm
    from whichbits.quantization.passes.direct import quantize_checkpoint

    odd = copied(base, tmp_path / "odd", _extra)
    numbers = iter(range(9))

    def nearest() -> None:
        quantize_checkpoint(odd, get("w8a8-int"), parse(recipe_fields("nearest")), tmp_path / str(next(numbers)))

    linear = torch.nn.Linear(2, 2)
    follow("the checkpoint's tensors do not fit", mistake=lambda: fill(linear, {"extra.weight": linear.weight}), remedy=nearest)
    follow("no norm behind its layers is called", mistake=lambda: final_norm(linear), remedy=nearest)
    follow(
        "the mixture of experts of {name} is not understood",
        mistake=lambda: separate_experts(linear, ["mlp.experts.0.w1.weight"]),
        remedy=nearest,
    )


def test_rotations(follow: Any, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from whichbits.quantization.transforms.base_tensors import base_tensors

    def prefixed(tensors: dict[str, Any]) -> None:
        for name in list(tensors):
            tensors[f"language_model.{name}"] = tensors.pop(name)

    def behind(tensors: dict[str, Any]) -> None:
        tensors["model.layers.0.post_feedforward_layernorm.weight"] = tensors["model.norm.weight"].clone()

    cases = {
        "has norms behind attention and MLP": copied(base, tmp_path / "behind", behind),
        "rotation: model type {model_type} is not one of": copied(base, tmp_path / "olmo", model_type="olmo"),
        "rotation: the tensor {name} is not understood": copied(base, tmp_path / "extra", _extra),
        "rotation: the model reads images too": copied(base, tmp_path / "images", prefixed),
    }
    for error, folder in cases.items():

        def read(place: Path, **fields: Any) -> None:
            tensors = base_tensors(place, parse(fields))
            for name in tensors:
                tensors[name]

        follow(error, mistake=partial(read, folder, rotation=True), remedy=partial(read, folder))


def test_norms_that_feed_nothing(follow: Any) -> None:
    pytest.importorskip("torch")
    from whichbits.quantization.transforms.rescale import rescale

    def without() -> None:
        fields = {"balancing": None}
        recipe = recipe_for(get("w8a8-int"), "balanced", fields)
        assert recipe_for(get("w8a8-int"), "balanced", {}).balancing is not None
        assert (recipe.balancing, recipe.smoothing, recipe.awq) == (None, None, False)

    follow("no norm of the model feeds a linear layer", mistake=lambda: rescale({}, [], {}, lambda *_: None), remedy=without)


def test_budgets_of_a_model(follow: Any, base: Path) -> None:
    pytest.importorskip("torch")
    from whichbits.quantization.mixed_precision.search import choose_formats

    recipe = parse({"rounding": "gptq", "calibration": {"source": "random", "samples": 2, "length": 8}})
    choosing = partial(choose_formats, base, recipe=recipe, device="cpu")
    follow(
        "and the smallest of the formats take",
        mistake=lambda: choosing(["w8a8-int"], bits_per_weight=5),
        remedy=lambda: choosing(["w4a16-int", "w8a8-int"], bits_per_weight=5),
    )
    follow(
        "none of the formats fits {name}",
        mistake=lambda: choosing(["fp8-block"], bits_per_weight=9),
        remedy=lambda: choosing(["fp8-block", "w8a8-int"], bits_per_weight=9),
    )


PLAIN = {"rounding": "gptq", "calibration": {"source": "random", "samples": 2, "length": 8}}


def passed(base: Path, folder: Path, *recipes: dict[str, Any]) -> None:
    """One calibrated pass."""
    from whichbits.quantization.passes.calibrated import Target, quantize_calibrated

    targets = [Target(get("w8a8-int"), parse(recipe), folder / str(number)) for number, recipe in enumerate(recipes)]
    quantize_calibrated(base, targets, device="cpu")


@pytest.mark.parametrize(
    ("error", "other"),
    [
        ("differ in calibration or seed", {**PLAIN, "seed": 1}),
        ("leave different modules in 16 bit", {**PLAIN, "layers": [{"match": "re:.*down_proj", "format": "bf16"}]}),
    ],
)
def test_formats_of_one_pass(follow: Any, base: Path, tmp_path: Path, error: str, other: dict[str, Any]) -> None:
    pytest.importorskip("numba")

    def separate() -> None:
        passed(base, tmp_path / "first", PLAIN)
        passed(base, tmp_path / "second", other)

    follow(error, mistake=lambda: passed(base, tmp_path / "both", PLAIN, other), remedy=separate)


def test_tensors_that_are_not_the_model_s(follow: Any, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    spoilt = copied(base, tmp_path / "spoilt", _extra)
    follow(
        "the checkpoint is not one of transformers'",
        mistake=lambda: passed(spoilt, tmp_path / "of-spoilt", PLAIN),
        remedy=lambda: passed(base, tmp_path / "of-base", PLAIN),
    )


def test_a_format_that_is_not_written(follow: Any, base: Path) -> None:
    from whichbits.quantization.passes.fitting import fit_to

    follow(
        "format {name} cannot be written",
        mistake=lambda: fit_to(base, get("bf16"), parse({})),
        remedy=lambda: fit_to(base, get("w8a8-int"), parse({})),
    )


def nearest(folder: Path, out: Path) -> None:
    """What NEAREST advises: a checkpoint that is rounded to nearest."""
    from whichbits.quantization.passes.direct import quantize_checkpoint

    quantize_checkpoint(folder, get("w8a8-int"), parse(recipe_fields("nearest")), out, trust_remote_code=True)


OWN = """\
from transformers import LlamaConfig, LlamaForCausalLM

class Own(LlamaForCausalLM):
    config_class = LlamaConfig

    def forward(self, *args, **kwargs):
{body}
"""


def own_code(base: Path, folder: Path, body: str) -> Path:
    """The base with code of its own, whose forward has this body."""
    copied(base, folder, auto_map={"AutoModelForCausalLM": "own.Own"})
    (folder / "own.py").write_text(OWN.format(body=body))
    return folder


def test_what_the_calibrated_pass_does_not_compute(follow: Any, base: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from whichbits.quantization.passes.forward_check import check_agreement

    scaled = "        found = super().forward(*args, **kwargs)\n        found.logits = found.logits * 2\n        return found"
    cases = {
        "cannot be walked one by one": own_code(base, tmp_path / "raises", "        raise KeyError('a')"),
        "does not compute what the library's own": own_code(base, tmp_path / "scaled", scaled),
    }
    for number, (error, folder) in enumerate(cases.items()):
        follow(
            error,
            mistake=partial(check_agreement, folder, trust_remote_code=True),
            remedy=partial(nearest, folder, tmp_path / f"nearest-{number}"),
        )


def test_a_disk_that_fills_up(follow: Any, tmp_path: Path) -> None:
    """/dev/full is a disk without space."""
    from whichbits.quantization.output.folder import disk_full_as_user_error

    def write(file: str) -> None:
        with disk_full_as_user_error(Path(file).parent), open(file, "w") as out:  # noqa: PTH123
            out.write("a" * 100_000)

    follow("the disk of {folder} is full", mistake=lambda: write("/dev/full"), remedy=lambda: write(str(tmp_path / "file")))


def test_weights_beyond_what_scales_hold(follow: Any) -> None:
    """127 times a scale that is rounded up is beyond FP16's range."""
    torch = pytest.importorskip("torch")
    from whichbits.quantization.passes.layer import _error
    from whichbits.quantization.rounding.rounded import Rounded

    def rounded(dtype: Any) -> None:
        weight = torch.full((4, 32), 65504.0).to(dtype)
        scale = (weight.float().amax(1, keepdim=True) / 127).to(dtype)
        _error(NAME, weight, Rounded((weight / scale).round().clamp(-127, 127) * scale, scale))

    follow("its largest number is", mistake=lambda: rounded(torch.float16), remedy=lambda: rounded(torch.bfloat16))


def test_layers_that_the_pass_does_not_reach(follow: Any, base: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from whichbits.models.resolve import resolve
    from whichbits.quantization.model.decoder import Call
    from whichbits.quantization.model.replicas import Replica
    from whichbits.quantization.passes.forward_check import check_agreement
    from whichbits.quantization.passes.pipeline import _by_weight
    from whichbits.quantization.rounding.kv_cache import largest_keys_and_values

    class Blind(torch.nn.Module):
        def forward(self, states: Any, **_: Any) -> Any:
            return states

    numbers = iter(range(9))

    def made() -> Path:
        out = tmp_path / f"made-{next(numbers)}"
        nearest(base, out)
        return out

    follow("was not reached by the calibration data", mistake=lambda: _by_weight([], [NAME], "a."), remedy=made)
    follow(
        "the keys and values of {layer} cannot be seen",
        mistake=lambda: largest_keys_and_values([Replica(Blind(), Call((), {}))], [torch.ones(1, 2, 4)]),
        remedy=made,
    )
    structure = "the base's structure is not understood"
    configuration = read_configuration(base)
    follow(
        structure,
        mistake=lambda: layer_linears(configuration, {NAME: (4, 4, 4)}),
        remedy=lambda: resolve(str(made()), cache=tmp_path),
    )
    deeper = copied(base, tmp_path / "deeper", num_hidden_layers=3)
    follow("decoder layers, the model has", mistake=lambda: check_agreement(deeper), remedy=lambda: check_agreement(base))


ENCODER = """\
from transformers import T5Config, T5EncoderModel

class Own(T5EncoderModel):
    config_class = T5Config
"""


def test_a_class_that_only_its_own_code_has(follow: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from whichbits.quantization.model.decoder import empty_library_model

    fields = {"model_type": "t5", "d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 16}
    fields |= {"auto_map": {"AutoModelForCausalLM": "own.Own"}, "dtype": "bfloat16", "is_encoder_decoder": False}
    (tmp_path / "config.json").write_text(json.dumps(fields))
    (tmp_path / "own.py").write_text(ENCODER)
    follow(
        "transformers cannot build the model of {base}",
        mistake=lambda: empty_library_model(tmp_path),
        remedy=lambda: empty_library_model(tmp_path, trust_remote_code=True),
    )


def test_several_processes(follow: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads stand for processes."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("numba")
    from whichbits.quantization.model.ranks import Ranks, launched
    from whichbits.quantization.passes.calibrated import _check_ranks

    def by_two(work: Callable[[Ranks], Any]) -> None:
        store = torch.distributed.HashStore()

        def rank(number: int) -> None:
            work(Ranks(number, 2, torch.distributed.ProcessGroupGloo(store, number, 2)))

        with ThreadPoolExecutor(2) as threads:
            for ended in [threads.submit(rank, number) for number in range(2)]:
                ended.result()

    def check(versions: str, length: int) -> None:
        tokens = torch.zeros(4, length, dtype=torch.int64)
        by_two(lambda ranks: _check_ranks(ranks, [{"versions": versions if ranks.rank else "1.0"}], tokens))

    follow("than the first", mistake=lambda: check("1.1", 2048), remedy=lambda: check("1.0", 2048))
    follow("processes share the calibration", mistake=lambda: check("1.0", 512), remedy=lambda: check("1.0", 1024))

    def join(other: str = "") -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            monkeypatch.setenv("MASTER_PORT", str(free.getsockname()[1]))
        code = f"from whichbits.quantization.model.ranks import joined\nwith joined() as ranks: {other}"
        beside = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "RANK": "1"}) if other else None
        with launched() as ranks:
            ranks.wait()
        if beside is not None:
            assert beside.wait() == 0

    def alone() -> None:
        monkeypatch.delenv("WORLD_SIZE")
        join()
        monkeypatch.setenv("WORLD_SIZE", "2")

    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    follow("are not told how they find each other", mistake=join, remedy=alone)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    follow("calibration by several processes", mistake=lambda: join("pass"), remedy=lambda: join("ranks.wait()"))
