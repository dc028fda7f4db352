from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytest.importorskip("numba")

from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.formats.checkpoint.compress import decompress  # noqa: E402
from whichbits.formats.mixed import unit  # noqa: E402
from whichbits.models.configuration import read_configuration  # noqa: E402
from whichbits.quantization.mixed_precision.knapsack import Option  # noqa: E402
from whichbits.quantization.mixed_precision.layer_sensitivity import measure, spend  # noqa: E402
from whichbits.quantization.model.structure import layer_linears, tensor_shapes  # noqa: E402
from whichbits.quantization.passes.direct import quantize_checkpoint  # noqa: E402
from whichbits.quantization.passes.layer import quantize_layer  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402

FORMATS = [get(name) for name in ("w4a16-int", "w8a8-int", "bf16")]
TOKENS = torch.randint(5, 256, (2, 16), generator=torch.Generator().manual_seed(7))


@pytest.fixture(scope="module")
def layers(random_base: Callable[[str], Path]) -> list[list[str]]:
    base = random_base("Llama")
    return layer_linears(read_configuration(base), tensor_shapes(base))


@pytest.fixture(scope="module")
def options(random_base: Callable[[str], Path], layers: list[list[str]]) -> list[Option]:
    return measure(random_base("Llama"), layers, FORMATS, TOKENS, Recipe())


def test_every_unit_has_every_format_and_finer_ones_change_less(options: list[Option]) -> None:
    by_unit = {name: [option for option in options if option.unit == name] for name in {option.unit for option in options}}
    assert len(by_unit) == 8
    for choices in by_unit.values():
        assert [option.format for option in choices] == ["w4a16-int", "w8a8-int", "bf16"]
        int4, int8, bf16 = choices
        assert int4.error > 5 * int8.error > 0 == bf16.error
        assert int4.bits < int8.bits < bf16.bits
    gate_up = by_unit["model.layers.1.mlp.gate_proj+up_proj"]
    assert [option.bits for option in gate_up] == [2 * (32768 * 4 + 256 * 16 + 128), 2 * (32768 * 8 + 256 * 16), 2 * 32768 * 16]


@torch.no_grad()
def test_the_error_is_that_of_the_whole_model_with_one_unit_changed(
    options: list[Option], random_base: Callable[[str], Path]
) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(random_base("Llama"))
    before = [model(sample[None], output_hidden_states=True).hidden_states[1] for sample in TOKENS]
    name = "model.layers.0.mlp.down_proj.weight"
    parameter = model.get_parameter(name)
    fitted = get("w4a16-int").model_copy(update={"weights": get("w4a16-int").weights.model_copy(update={"group_size": 128})})
    (module,) = quantize_layer({name: parameter.data}, fitted, Recipe())
    stored = {key.removeprefix("model.layers.0.mlp.down_proj."): tensor for key, tensor in module.tensors.items()}
    parameter.data = decompress(stored, fitted)
    after = [model(sample[None], output_hidden_states=True).hidden_states[1] for sample in TOKENS]
    changes = [
        (a.float() - b.float()).square().sum(-1) / b.float().square().sum(-1) for a, b in zip(after, before, strict=True)
    ]
    (option,) = (each for each in options if each.unit == "model.layers.0.mlp.down_proj" and each.format == "w4a16-int")
    assert option.error == pytest.approx(float(torch.cat(changes).mean()), rel=0.02)


def test_a_budget_becomes_a_checkpoint_of_that_size(
    options: list[Option], layers: list[list[str]], random_base: Callable[[str], Path], tmp_path: Path
) -> None:
    base = random_base("Llama")
    two = [option for option in options if option.format != "bf16"]
    weights = sum(shape[0] * shape[1] for name, shape in tensor_shapes(base).items() if any(name in layer for layer in layers))
    own, choices = spend(layers, two, bits=5.5 * weights)
    assert {own, *(choice.format for choice in choices)} == {"w4a16-int", "w8a8-int"}
    manifest, _ = quantize_checkpoint(base, get(own), Recipe(layers=choices), tmp_path / "out")
    assert 4.8 < manifest.bits_per_weight <= 5.5
    modules = [name.removesuffix(".weight") for layer in layers for name in layer]
    better = {unit(module) for module in modules if manifest.format.of(module).name == "w8a8-int"}
    gains = {option.unit: option.error for option in two if option.format == "w4a16-int"}
    assert max(gains, key=lambda name: gains[name]) in better
