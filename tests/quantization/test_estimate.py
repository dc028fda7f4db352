from __future__ import annotations

from dataclasses import replace

import pytest

pytest.importorskip("torch")

from whichbits.formats.catalogue import get, load
from whichbits.models import float32_products
from whichbits.quantization.estimate import Cost, Speed, Widths, cost, measure_rounding, measure_speed
from whichbits.quantization.recipe.recipe import Calibration, Recipe

WIDTHS = Widths(
    layers=2, hidden=256, heads=4, kv_width=256, outside=1000, head=500,
    inputs=((256, (256, 128, 128)), (256, (256,)), (256, (512, 512)), (512, (256,))),
)  # fmt: skip

SPEED = Speed(exact=1e9, layer=2e9, decode=1e9, decode_float32=4e9, choice=1e9)


def test_round_to_nearest_by_hand() -> None:
    """589,824 - 0 = 2 layers of 589,824 weights; 8 bits each and 16 for each of 2,048 rows."""
    assert WIDTHS.layer_weights == 256 * (256 + 128 + 128 + 256 + 512 + 512) + 512 * 256 == 589_824
    found = cost(WIDTHS, get("w8a8-int"), Recipe(), Speed(1.0, 1.0, 1.0, 1.0, 1.0), rounding=1e-6)
    disk = 2 * (589_824 + 2 * 2048) + 2 * 1000
    assert found == Cost(seconds=pytest.approx(2 * 589_824e-6), memory=disk + 12 * 512 * 256, disk=disk)


def test_a_calibrated_pass_by_hand() -> None:
    recipe = Recipe(rounding="gptq", propagate_error=False, calibration=Calibration(source="random", samples=4, length=16))
    found = cost(WIDTHS, get("w8a8-int"), recipe, SPEED, rounding=0.0)
    squares, cubes = 3 * 256**2 + 512**2, 3 * 256**3 + 512**3
    layer = 2 * 64 * 589_824 / 2e9 + (64 * squares + 4 * cubes / 3) / 1e9
    assert found.seconds == pytest.approx(2 * layer)
    assert found.scratch == 2 * (589_824 + 2 * 2048), "the finished layers"


@pytest.mark.parametrize(("has_products", "rate"), [(True, 1e9), (False, 4e9)])
def test_generated_text_by_hand(has_products: bool, rate: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of 2 * 589,824 weights and 500 of the head, and 500 / 256 logits to draw from, for each of 64 tokens."""
    monkeypatch.setattr(float32_products, "has_bfloat16_products", lambda: has_products)
    recipe = Recipe(rounding="gptq", propagate_error=False, calibration=Calibration(source="random", samples=4, length=16))
    own = recipe.model_copy(update={"calibration": Calibration(samples=4, length=16)})
    given, generated = (cost(WIDTHS, get("w8a8-int"), each, SPEED, rounding=0.0).seconds for each in (recipe, own))
    text = 64 * (2 * (2 * 589_824 + 500) / rate + 500 / 256 / 1e9)
    assert generated - given == pytest.approx(text)
    assert cost(WIDTHS, get("w8a8-int"), own, SPEED, rounding=0.0, kept=3).seconds - given == pytest.approx(text / 4)


def test_the_comparison_with_the_librarys_forward_by_hand() -> None:
    """In float64 a layer beside itself scaled, or the head beside four times the logits of 2 * 136 tokens."""
    recipe = Recipe(rounding="gptq", propagate_error=False, calibration=Calibration(source="random", samples=4, length=16))
    speed = Speed(1e9, 1e9, 1e9, 1e9, 1e9)
    assert cost(WIDTHS, get("w8a8-int"), recipe, speed, rounding=0.0).memory >= 8 * 2 * 589_824
    large = replace(WIDTHS, head=256 * 150_000)
    found = cost(large, get("w8a8-int"), recipe, speed, rounding=0.0)
    assert found.memory == 8 * (256 * 150_000 + 4 * 2 * 136 * 150_000)
    assert cost(large, get("w8a8-int"), Recipe(), speed, rounding=0.0).memory < found.memory / 10


def test_the_way_back_by_hand() -> None:
    """Two draws: forward once more, back twice; the loss of each token; the curvature of each module, and its factor."""
    recipe = Recipe(rounding="gptq", propagate_error=False, calibration=Calibration(source="random", samples=4, length=16))
    plain = cost(WIDTHS, get("w8a8-int"), recipe, SPEED, rounding=0.0)
    found = cost(WIDTHS, get("w8a8-int"), recipe.model_copy(update={"fisher_samples": 2}), SPEED, rounding=0.0)
    rows = [256, 128, 128, 256, 512, 512, 256]
    passes = 3 * 2 * 64 * 589_824 / 2e9
    curvature = (2 * 8 * sum(each**2 for each in rows) + 4 / 3 * sum(each**3 for each in rows)) / 1e9
    later_rows = 2 * 512 * 256 * (512 - 256) / 1e9
    loss = 64 * (4 * 500 / 2e9 + 500 / 256 / 1e9)
    assert found.seconds - plain.seconds == pytest.approx(2 * (passes + curvature + later_rows) + loss)
    assert found.scratch - plain.scratch == 2 * 64 * 256 * 2, "the hidden states before each layer"
    assert found.memory > plain.memory


def test_a_way_forwards_after_the_way_back_by_hand() -> None:
    """Each layer three times more: with its Hessian, for the next layer, and for the base beside; sums for the corrections."""
    recipe = Recipe(
        rounding="gptq", propagate_error=False, fisher_samples=2, calibration=Calibration(source="random", samples=4, length=16)
    )
    plain = cost(WIDTHS, get("w8a8-int"), recipe, SPEED, rounding=0.0)
    forwards = recipe.model_copy(
        update={"propagate_error": True, "input_error_correction": 0.5, "residual_error_correction": 0.5}
    )
    found = cost(WIDTHS, get("w8a8-int"), forwards, SPEED, rounding=0.0)
    squares, adding = 3 * 256**2 + 512**2, 256 * 256 + 256 * 512 + 256 * 256  # q_proj is as high, and is counted
    targets = 6 * (1792 * 256**2 + 256 * 512**2)
    layer = 3 * 2 * 64 * 589_824 / 2e9 + (64 * (squares + 2 * squares + 2 * adding) + targets) / 1e9
    assert found.seconds - plain.seconds == pytest.approx(2 * layer)
    rows = [256, 128, 128, 256, 512, 512, 256]
    assert found.scratch - plain.scratch == 2 * 4 * sum(each**2 for each in rows), "the curvature"
    assert found.memory > plain.memory


@pytest.mark.parametrize("name", [name for name, format in load().items() if not format.is_base and not format.refused])
def test_every_format_can_be_estimated(name: str) -> None:
    rounding = measure_rounding(get(name), Recipe(scales="minmax"))
    found = cost(WIDTHS, get(name), Recipe(scales="minmax"), Speed(1e9, 1e9, 1e9, 1e9, 1e9), rounding)
    assert 0 < rounding < 1e-3
    assert found.seconds >= 2 * 589_824 * rounding
    assert 589_824 < found.disk < 4 * 589_824


def test_this_machine_multiplies_more_than_a_million_times_a_second() -> None:
    speed = measure_speed()
    assert min(speed.exact, speed.layer, speed.decode, speed.decode_float32) > 1e6
    assert max(speed.exact, speed.layer, speed.decode, speed.decode_float32) < 1e15
