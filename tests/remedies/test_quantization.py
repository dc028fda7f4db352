"""The remedies of the verb `quantize`, followed up to where it asks for the model, which is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whichbits.api.quantize import quantize
from whichbits.cli.quantize import quantize as estimate
from whichbits.core.errors import UserError


@pytest.fixture
def asked(tmp_path: Path) -> Any:
    """Calls the verb; all that it says before it looks for the model is raised."""
    pytest.importorskip("torch")

    def call(format: str | list[str], **options: Any) -> None:
        try:
            quantize("no-such-model", [format] if isinstance(format, str) else format, tmp_path / "out", **options)
        except UserError as error:
            if "is neither a folder nor a hub id" not in error.message:
                raise

    return call


def test_formats(follow: Any, asked: Any) -> None:
    follow("no format is named", mistake=lambda: asked([]), remedy=lambda: asked("w8a8-fp"))
    follow("cannot be made: its weights are the base's own", mistake=lambda: asked("bf16"), remedy=lambda: asked("w8a8-fp"))
    follow("format {name} is named twice", mistake=lambda: asked(["w8a8-fp"] * 2), remedy=lambda: asked("w8a8-fp"))


def test_a_cache_of_the_base(follow: Any, asked: Any) -> None:
    raised = follow(
        "cannot be made: its weights are the base's own", mistake=lambda: asked("bf16+kv-fp8"), remedy=lambda: asked("w8a8-fp")
    )
    assert "--kv-cache-dtype fp8" in raised.remedy


@pytest.mark.parametrize("helps", [{"recipe": "nearest"}, {"calibration": "self", "recipe": "paper-w8a8-int"}])
def test_calibration_that_does_nothing(follow: Any, asked: Any, helps: dict[str, Any]) -> None:
    follow(
        "calibration does nothing for formats that are rounded to nearest",
        mistake=lambda: asked("w8a8-int", calibration="self", recipe="nearest"),
        remedy=lambda: asked("w8a8-int", **helps),
    )


def test_calibration_at_an_effort_that_uses_none(follow: Any, asked: Any) -> None:
    follow(
        "calibration does nothing for formats that are rounded to nearest",
        mistake=lambda: asked("w8a8-fp", calibration="self", effort="fast"),
        remedy=lambda: asked("w8a8-fp", calibration="self", effort="balanced"),
    )


def test_a_budget_with_what_it_does_not_have(follow: Any, asked: Any, tmp_path: Path) -> None:
    follow(
        "budget has no estimate",
        mistake=lambda: estimate("no-such-model", ["w8a8-int"], tmp_path / "out", budget="4.5bits", dry_run=True),
        remedy=lambda: asked("w8a8-int"),
    )
    for left in ({"export": "ascend"}, {"budget": "8.5bits"}):
        follow(
            "a checkpoint with several formats cannot be exported",
            mistake=lambda: asked("w8a8-int", budget="8.5bits", export="ascend"),
            remedy=lambda: asked("w8a8-int", **left),  # noqa: B023
        )


def test_an_export_that_is_not_known(follow: Any, asked: Any) -> None:
    follow(
        "export {export} is not known",
        mistake=lambda: asked("w8a8-int", export="npu"),
        remedy=lambda: asked("w8a8-int", export="ascend"),
    )
