"""Remedies of whichbits.cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whichbits.api.arguments import overrides_of
from whichbits.cost.prices import parse_override, prices
from whichbits.hardware.catalogue import catalogue, find

ONE = "{description: mine, devices: {h100: {usd_per_hour: {1: 2.5}, source: us, as_of: 2026-01-31}}}"


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    return tmp_path / "prices.yaml"


def priced(path: Path, text: str, encoding: str = "utf-8") -> float:
    path.write_text(text, encoding=encoding)
    return prices(path).price("h100").per_hour()


@pytest.mark.parametrize("name", ["H200X", "zzzz"])
def test_hardware_that_is_not_in_the_catalogue(follow: Any, name: str):
    error = follow("hardware: {name} is not in the catalogue", mistake=lambda: find(name), remedy=lambda: None)
    named = error.remedy.rpartition("known are ")[2].removeprefix("one of ").split(", ")
    nearest = error.remedy.partition(";")[0].removeprefix("nearest are ").removeprefix("one of ").split(", ")
    assert {find(device).id for device in named} == set(catalogue())
    assert all(find(device) for device in nearest)


def test_a_price_of_an_unknown_device(follow: Any):
    error = follow(
        "price: unknown device '{device}'",
        mistake=lambda: prices(overrides={"h1000": 2.0}),
        remedy=lambda: prices(overrides={next(iter(catalogue())): 2.0}),
    )
    for device in error.remedy.removeprefix("use one of ").partition(", or a device")[0].split(", "):
        assert prices(overrides={device: 2.0}).price(device).per_hour() == 2.0


def test_a_device_with_two_prices(follow: Any):
    follow(
        "price: {device} is given twice",
        mistake=lambda: overrides_of(["h100=2", "H100=3"]),
        remedy=lambda: overrides_of(["h100=2", "H100=2"]),
    )
    follow(
        "price: {given} and {device} are one device",
        mistake=lambda: prices(overrides={"h100": 2.0, "h100-sxm": 3.0}),
        remedy=lambda: prices(overrides={"h100-sxm": 3.0}),
    )


def test_a_price_that_is_not_written_as_one(follow: Any):
    error = follow("is not DEVICE=USD_PER_HOUR", mistake=lambda: parse_override("h100:2.10"), remedy=lambda: None)
    assert parse_override(error.remedy.rpartition(" ")[2]) == ("h100", 2.1)


@pytest.mark.parametrize("dollars", ["0", "-1", "inf", "nan"])
def test_a_price_that_is_none(follow: Any, dollars: str):
    follow(
        "price: {device} costs {dollars} USD per hour",
        mistake=lambda: parse_override(f"h100={dollars}"),
        remedy=lambda: parse_override("h100=0.01"),
    )


def test_no_price_list(follow: Any, listed: Path):
    error = follow(
        "is neither a preset nor a file",
        mistake=lambda: prices("defaults"),
        remedy=lambda: priced(listed, f"presets: {{a: {ONE}}}"),
    )
    for preset in error.remedy.removeprefix("use one of ").removesuffix(", or a path").split(", "):
        assert prices(preset).devices


def test_a_price_list_that_is_not_utf8(follow: Any, listed: Path):
    text = f"presets: {{größe: {ONE}}}"
    follow("is not UTF-8 text", mistake=lambda: priced(listed, text, "latin-1"), remedy=lambda: priced(listed, text))


@pytest.mark.parametrize("presets", ["{}", f"{{a: {ONE}, b: {ONE}}}"])
def test_a_price_list_of_another_number_of_presets(follow: Any, listed: Path, presets: str):
    follow(
        "price list {path} holds {own} presets",
        mistake=lambda: priced(listed, f"presets: {presets}"),
        remedy=lambda: priced(listed, f"presets: {{a: {ONE}}}"),
    )


def test_a_price_list_that_is_not_yaml(follow: Any, listed: Path):
    error = follow(
        "price list {name} is not YAML",
        mistake=lambda: priced(listed, f"presets:\n  a: {ONE}}}\n"),
        remedy=lambda: priced(listed, f"presets:\n  a: {ONE}\n"),
    )
    assert "line 2" in error.message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h100: 2.5",
        ONE,
        "presets: {a: {description: mine, devices: {h100: 2.5}}}",
        f"presets: {{a: {ONE}}}".replace("2.5", "0"),
        f"presets: {{a: {ONE}}}".replace("2026-01-31", "January"),
        f"presets: {{a: {ONE}}}".replace("source: us, ", ""),
    ],
)
def test_a_price_list_of_another_form(follow: Any, listed: Path, text: str):
    error = follow("price list {name}: {field} is", mistake=lambda: priced(listed, text), remedy=lambda: None)
    form = error.remedy.removeprefix("write ").replace("DEVICE", "h100").replace("YYYY-MM-DD", "2026-01-31")
    assert priced(listed, form.replace("COUNT", "1").replace("DOLLARS larger than 0", "2.5")) == 2.5


def test_a_device_without_a_price(follow: Any):
    error = follow("has no price in the price list", mistake=lambda: prices().price("cpu"), remedy=lambda: None)
    override = error.remedy.rpartition(" ")[2].replace("USD_PER_HOUR", "0.5")
    assert prices(overrides=dict([parse_override(override)])).price("cpu").per_hour() == 0.5
