from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whichbits.core.errors import UserError
from whichbits.cost.prices import Price, parse_override, prices
from whichbits.hardware.catalogue import catalogue, find

PAPER_TABLE_9 = [
    ("a6000", 1, 0.80), ("a6000", 2, 1.60), ("a6000", 4, 3.20),
    ("a100", 8, 14.32), ("a100", 1, 1.79), ("a100", 2, 3.58), ("a100", 4, 7.16), ("a100", 16, 28.64),
    ("h100", 1, 3.29), ("h100", 2, 6.38), ("h100", 4, 12.36), ("h100", 8, 23.92), ("h100", 16, 47.84),
]  # fmt: skip


@pytest.mark.parametrize(("device", "count", "dollars"), PAPER_TABLE_9)
def test_prices_of_the_paper(device, count, dollars):
    price = prices("paper-2024-10").price(device)
    assert price.per_hour(count) == pytest.approx(dollars, abs=1e-9)
    assert price.as_of == date(2024, 10, 28)
    assert "2411.02355" in price.source


UNPRICED = {
    "nvidia-a5000", "nvidia-a10", "nvidia-a10g", "nvidia-l40", "nvidia-rtx-6000-ada", "nvidia-a30", "nvidia-a100-pcie-40gb",
    "nvidia-gh200", "nvidia-h20", "nvidia-gb200", "amd-mi325x", "huawei-atlas-a2",
}  # fmt: skip
"""Devices of the catalogue for which no dated list price was found."""


def test_every_default_price_is_dated_and_sourced():
    listed = prices()
    assert {find(device).id for device in listed.devices} == catalogue().keys() - UNPRICED
    assert all(price.source and price.as_of for price in listed.devices.values())


def test_a_cpu_has_a_price_only_if_given():
    with pytest.raises(UserError, match=r"'cpu' has no price.*--price cpu="):
        prices().price("cpu")
    assert prices(overrides={"cpu": 0.4}).price("cpu").per_hour(2) == pytest.approx(0.8)


def test_naming_the_cpu_does_not_measure_it(monkeypatch):
    monkeypatch.setattr("whichbits.hardware.cpu.this_cpu", lambda: pytest.fail("measured"))
    assert prices(overrides={"CPU": 0.4}).price("cpu").per_hour() == 0.4


def test_an_override_replaces_the_price_and_its_source():
    catalogue = prices("paper-2024-10", {"H100": 2.10})
    price = catalogue.price("h100")
    assert price.per_hour(4) == pytest.approx(8.40)
    assert price.source == "given by the user"
    assert catalogue.price("a6000").per_hour() == pytest.approx(0.80)
    assert catalogue.warnings(date(2036, 1, 1), ["h100"]) == ()


@pytest.mark.parametrize("dollars", [0.0, -1.0, float("nan"), float("inf")])
def test_a_price_that_is_not_positive_is_refused(dollars):
    with pytest.raises(UserError, match=r"price: h100 costs .*larger than 0"):
        prices(overrides={"h100": dollars})


def test_an_unknown_device_is_refused():
    with pytest.raises(UserError, match=r"unknown device 'h10'.*h100"):
        prices(overrides={"h10": 2.0})


def test_devices_go_by_any_name_of_the_hardware_catalogue():
    catalogue = prices(overrides={"H100 SXM": 2.10, "RTX 4090": 0.5})
    assert catalogue.price("nvidia-h100-sxm") == catalogue.price("h100")
    assert catalogue.price("h100").per_hour() == 2.10
    assert catalogue.price("nvidia-rtx-4090").per_hour() == 0.5
    assert list(catalogue.devices).count("h100") == 1
    with pytest.raises(UserError, match="'L40' has no price"):
        catalogue.price("L40")


def test_an_unknown_preset_is_refused():
    with pytest.raises(UserError, match=r"'paper' is neither a preset nor a file.*paper-2024-10"):
        prices("paper")


def test_old_prices_are_warned_of_after_180_days():
    catalogue = prices("paper-2024-10")
    assert catalogue.warnings(date(2025, 4, 26)) == ()
    (line,) = catalogue.warnings(date(2025, 4, 27), ["a100", "cpu"])
    assert "a100" in line
    assert "2024-10-28" in line
    assert "181 days" in line


@pytest.mark.parametrize(
    ("text", "expected"), [("h100=2.10", ("h100", 2.1)), ("A6000=1", ("a6000", 1.0)), (" cpu =0.4", ("cpu", 0.4))]
)
def test_parse_override(text, expected):
    assert parse_override(text) == expected


@pytest.mark.parametrize("text", ["h100", "h100=", "=2", "h100=two", "h100=0", "h100=-3", "h100=nan"])
def test_parse_override_refuses(text):
    with pytest.raises(UserError):
        parse_override(text)


def own_list(folder: Path, text: str) -> Path:
    path = folder / "own.yaml"
    path.write_text(text, encoding="utf-8")
    return path


ENTRY = "presets: {ours: {description: d, devices: {gb200: {usd_per_hour: {1: %s}, source: contract, as_of: 2026-11-01}}}}"


def test_a_price_file_of_the_user(tmp_path):
    catalogue = prices(own_list(tmp_path, ENTRY % "7.5"))
    assert (catalogue.name, catalogue.price("gb200").per_hour(2)) == ("ours", 15.0)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (ENTRY % "0", "greater than 0"),
        (ENTRY.replace("source", "sauce") % "1", "source"),
        ("presets: [", "not YAML"),
        ("presets: {}", "holds 0 presets"),
        ("", "file"),
    ],
)
def test_a_malformed_price_file_is_refused(tmp_path, text, says):
    with pytest.raises(UserError, match=says):
        prices(own_list(tmp_path, text))


@given(st.integers(1, 64), st.dictionaries(st.integers(1, 16), st.floats(0.01, 100), min_size=1))
def test_a_listed_bundle_is_priced_as_listed_and_others_per_device(count, listed):
    price = Price(usd_per_hour=listed, source="s", as_of=None)
    per_device = [dollars / size for size, dollars in listed.items()]
    assert min(per_device) * 0.999999 <= price.per_hour(count) / count <= max(per_device) * 1.000001
    for size, dollars in listed.items():
        assert price.per_hour(size) == pytest.approx(dollars)


def test_no_devices_have_no_price():
    with pytest.raises(ValueError, match="at least 1"):
        prices().price("h100").per_hour(0)
