"""A rounder and a transform that another package brings, in the checkpoint of a command."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("compressed_tensors")
from safetensors.torch import load_file  # noqa: E402

from whichbits.core.entry_points import Registry  # noqa: E402
from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.recipe.methods import ROUNDERS, TRANSFORMS, Method  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe, parse  # noqa: E402
from whichbits.quantization.transforms.transform import asked  # noqa: E402

MODULE = '''\
import torch

from whichbits.quantization.rounding.groups import from_groups, to_groups
from whichbits.quantization.rounding.rounder import Rounder
from whichbits.quantization.transforms.transform import Transform


class Down(Rounder):
    """Each weight to the next lower number."""

    calibrated = False

    def round(self, unrounded):
        scale = unrounded.scale.unsqueeze(2)
        groups = (to_groups(unrounded.weight, unrounded.args) / scale).floor().clamp(-128, 127) * scale
        return from_groups(groups, unrounded.args, *unrounded.weight.shape)


class Shrink(Transform):
    """All weights of the linear layers times the strength."""

    def apply(self, layer, strength):
        linears = {f"{module}.weight" for fed in layer.statistics for module in fed.modules}
        tensors = {name: tensor * strength if name in linears else tensor for name, tensor in layer.tensors.items()}
        return tensors, layer.statistics


NOTHING = 3
'''
ENTRY_POINTS = """\
[whichbits.rounders]
down = brought:Down
nothing = brought:NOTHING
moved = brought:Shrink
[whichbits.transforms]
shrink = brought:Shrink
lower = brought:Down
"""
CALIBRATION = {"source": "random", "samples": 2, "length": 8}
WEIGHT = "model.layers.0.mlp.up_proj"


@pytest.fixture
def installed(tmp_path: Path, bring: Callable[..., Path], put_on_path: Callable[[Path], None]) -> Iterator[None]:
    """A package on the import path that brings a rounder `down` and a transform `shrink`."""
    put_on_path(bring(tmp_path / "site", {"brought.py": MODULE}, ENTRY_POINTS))
    yield
    for methods in (ROUNDERS, TRANSFORMS):
        methods._loaded.clear()


def stored(base: Path, recipe: Recipe, out: Path) -> torch.Tensor:
    """The weight that a w8a8-int checkpoint holds, float32."""
    quantize_checkpoint(base, get("w8a8-int"), recipe, out)
    tensors = load_file(out / "model.safetensors")
    return tensors[f"{WEIGHT}.weight"].float() * tensors[f"{WEIGHT}.weight_scale"].float()


@pytest.mark.usefixtures("installed")
def test_a_rounder_from_outside_rounds(tiny_llama: Path, tmp_path: Path) -> None:
    original = load_file(tiny_llama / "model.safetensors")[f"{WEIGHT}.weight"].float()
    found = stored(tiny_llama, parse({"rounding": "down", "scales": "minmax"}), tmp_path / "down")
    assert bool((found <= original).all())
    plain = stored(tiny_llama, parse({"scales": "minmax"}), tmp_path / "rtn")
    assert not bool((plain <= original).all())
    assert "rounding: down" in (tmp_path / "down" / "recipe.yaml").read_text()


@pytest.mark.usefixtures("installed")
def test_a_transform_from_outside_changes_weights(tiny_llama: Path, tmp_path: Path) -> None:
    recipe = parse({"transforms": [{"name": "shrink", "strength": 0.5}], "scales": "minmax", "calibration": CALIBRATION})
    assert recipe.calibrated
    halved = stored(tiny_llama, recipe, tmp_path / "shrunk")
    plain = stored(tiny_llama, parse({"scales": "minmax"}), tmp_path / "rtn")
    assert torch.equal(halved * 2, plain)


@pytest.mark.usefixtures("installed")
def test_names_are_known_and_what_is_none_is_refused() -> None:
    assert ROUNDERS.names() == ("rtn", "gptq", "down", "moved", "nothing")
    assert TRANSFORMS.names() == ("smoothing", "balancing", "awq", "lower", "shrink")
    with pytest.raises(UserError, match="is no Rounder"):
        ROUNDERS.get("nothing")


@pytest.mark.usefixtures("installed")
def test_a_transform_is_no_rounder_nor_a_rounder_a_transform() -> None:
    with pytest.raises(UserError, match="is no Rounder"):
        parse({"rounding": "moved"})
    with pytest.raises(UserError, match="is no Transform"):
        asked(parse({"transforms": [{"name": "lower"}]}))


@pytest.mark.usefixtures("installed")
def test_a_transform_named_twice_has_each_of_its_strengths(tiny_llama: Path, tmp_path: Path) -> None:
    twice = [{"name": "shrink", "strength": 0.5}, {"name": "shrink", "strength": 4.0}]
    recipe = parse({"transforms": twice, "smoothing": 0.5, "scales": "minmax", "calibration": CALIBRATION})
    assert [(each.name, each.strength) for each in asked(recipe)] == [("smoothing", 0.5), ("shrink", 0.5), ("shrink", 4.0)]
    recipe = parse({"transforms": twice, "scales": "minmax", "calibration": CALIBRATION})
    doubled = stored(tiny_llama, recipe, tmp_path / "doubled")
    assert torch.equal(doubled, 2 * stored(tiny_llama, parse({"scales": "minmax"}), tmp_path / "rtn"))


@pytest.mark.usefixtures("installed")
def test_the_version_of_the_package_is_in_the_manifest(tiny_llama: Path, tmp_path: Path) -> None:
    recipe = parse({"rounding": "down", "transforms": [{"name": "shrink"}], "calibration": CALIBRATION})
    assert recipe.packages == {"brought": "1.0"}
    stored(tiny_llama, recipe, tmp_path / "down")
    assert json.loads((tmp_path / "down" / "manifest.json").read_text())["versions"]["brought"] == "1.0"
    assert parse({"rounding": "gptq", "awq": True}).packages == {}


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    with pytest.raises(UserError, match="those known are rtn, gptq"):
        parse({"rounding": "down"})
    with pytest.raises(UserError, match="those known are smoothing, balancing, awq"):
        parse({"transforms": [{"name": "shrink"}]})
    with pytest.raises(UserError, match="awq is a field of its own"):
        parse({"transforms": [{"name": "awq"}]})
    with pytest.raises(UserError, match="choose from rtn, gptq"):
        ROUNDERS.get("down")


def test_one_is_registered_by_a_call() -> None:
    from whichbits.quantization.rounding.nearest import Nearest

    methods: Registry[Method] = replace(ROUNDERS, _registered={})
    methods.register("mine", Nearest)
    assert isinstance(methods.get("mine"), Nearest)
    for name in ("mine", "gptq"):
        with pytest.raises(UserError, match="already"):
            methods.register(name, Nearest)
