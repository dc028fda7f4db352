from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("numba")

import whichbits  # noqa: E402
from whichbits.api.quantize import QuantizedCheckpoint, errors_by_kind  # noqa: E402
from whichbits.core.errors import UserError  # noqa: E402
from whichbits.formats.catalogue import get  # noqa: E402
from whichbits.quantization.output.manifest import Manifest, ModuleError, gptq_vs_rtn  # noqa: E402
from whichbits.quantization.recipe.options import budget_of, fields_of, fitting, recipe_of, source_of  # noqa: E402
from whichbits.quantization.recipe.recipe import Recipe  # noqa: E402


def test_a_calibrated_recipe_makes_every_format_in_one_pass(block_llama: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "gptq.yaml"
    recipe.write_text(
        "rounding: gptq\nsmoothing: 0.5\ngroup_size: 64\nseed: 4\ncalibration: {source: random, samples: 4, length: 16}\n"
    )
    rows = whichbits.quantize(str(block_llama), ["w8a8-int", "w4a16-int"], tmp_path / "out", recipe=recipe)
    assert [made.format for made in rows] == ["w8a8-int", "w4a16-int"]
    assert all("only 64 tokens" in made.warnings[0] for made in rows)
    manifests = [Manifest.model_validate_json((made.folder / "manifest.json").read_text()) for made in rows]
    assert [manifest.recipe.group_size for manifest in manifests] == [None, 64]
    assert {manifest.recipe.seed for manifest in manifests} == {4}
    assert {manifest.recipe.smoothing for manifest in manifests} == {0.5}


def test_round_to_nearest_needs_no_recipe(block_llama: Path, tmp_path: Path) -> None:
    rows = whichbits.quantize(
        str(block_llama), ["w8a8-fp", "w4a16-int"], tmp_path / "out", recipe={"scales": "minmax"}, group_size=32
    )
    assert [made.warnings for made in rows] == [(), ()]
    assert rows[1].bits_per_weight == pytest.approx(4.5, abs=0.01)
    assert len(rows[1].modules) == 14
    table = errors_by_kind(rows[1].modules)
    assert [kind.module for kind in table][:2] == ["mlp.down_proj", "mlp.gate_proj"]
    errors = [entry.error for entry in rows[1].modules if entry.module.endswith("q_proj")]
    kind = next(kind for kind in table if kind.module == "self_attn.q_proj")
    assert kind.mean_error == sum(errors) / 2
    assert kind.largest_error == max(errors)
    assert kind.in_layer == str(errors.index(max(errors)))


def test_an_alias_makes_the_format_once(block_llama: Path, tmp_path: Path) -> None:
    (row,) = whichbits.quantize(str(block_llama), ["INT8"], tmp_path / "out", recipe={"scales": "minmax"})
    folder = tmp_path / "out" / "w8a8-int"
    assert (row.format, row.folder) == ("w8a8-int", folder)
    assert Manifest.model_validate_json((folder / "manifest.json").read_text()).format.name == "w8a8-int"
    with pytest.raises(UserError, match="format w4a16-int is named twice"):
        whichbits.quantize(str(block_llama), ["int4", "w4a16-int"], tmp_path / "twice")


def test_arguments_go_before_a_recipes_fields(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("text")
    own = {"rounding": "gptq", "seed": 3, "group_size": 64, "calibration": {"source": "random", "samples": 7, "length": 32}}
    assert fields_of(own, {"seed": None, "group_size": None}) == own
    other = fields_of(own, {"seed": 5}, str(file), None, 16)
    assert other["seed"] == 5
    assert other["calibration"] == {"source": "text", "file": str(file), "samples": 7, "length": 16}


def test_effort_fills_what_is_not_said() -> None:
    int8, int4 = get("w8a8-int"), get("w4a16-int")
    assert fitting({"group_size": 64, "seed": 1}, int8) == {"seed": 1}
    assert fitting({"group_size": 64}, int4) == {"group_size": 64}
    assert recipe_of({}, int8, None, own_recipe=True) == Recipe()
    assert recipe_of({"effort": "best"}, int4, None, own_recipe=True) == recipe_of({}, int4, "best", own_recipe=True)
    assert recipe_of({"group_size": 64}, int4, None, own_recipe=True) == Recipe(group_size=64)
    balanced = recipe_of({}, int4, None, own_recipe=False)
    assert balanced == recipe_of({}, int4, "balanced", own_recipe=False)
    assert balanced.rounding == "gptq"
    assert recipe_of({"damping": 0.2}, int4, "fast", own_recipe=True).damping == 0.2


def test_a_budget_in_one_word() -> None:
    assert budget_of("4.5bits") == {"bits_per_weight": 4.5}
    assert budget_of("1e-3error") == {"error": 0.001}
    for text in ("4.5", "bits", "-1bits", "0bits"):
        with pytest.raises(UserError, match="write bits for each weight"):
            budget_of(text)


def test_calibration_in_one_word(tmp_path: Path) -> None:
    chat = tmp_path / "chat.jsonl"
    chat.write_text("")
    assert source_of("self") == {"source": "self"}
    assert source_of(str(chat)) == {"source": "chat", "file": str(chat)}
    assert source_of("HuggingFaceH4/ultrachat_200k,split=train_sft,fields=messages") == {
        "source": "dataset", "dataset": "HuggingFaceH4/ultrachat_200k", "split": "train_sft", "fields": ("messages",),
    }  # fmt: skip
    for text, message in [
        ("missing.txt", "does not exist"),
        ("a/b,spilt=x", "'spilt=x' is no option"),
        ("a/b,split=", "no option"),
    ]:
        with pytest.raises(UserError, match=message):
            source_of(text)


def test_a_dry_run_makes_nothing(block_llama: Path, tmp_path: Path) -> None:
    formats, recipe = ["w8a8-int", "w4a16-int"], {"rounding": "gptq"}
    int8, int4 = whichbits.estimate_quantization(str(block_llama), formats, tmp_path / "out", recipe=recipe)
    assert (int8.format, int4.format) == ("w8a8-int", "w4a16-int")
    assert int8.disk_bytes > int4.disk_bytes > 0
    assert min(int8.seconds, int8.memory_bytes, int8.free_bytes) > 0
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("formats", "options", "message"),
    [
        (["w8a8-fp"], {"recipe": {"scales": "best"}}, r"recipe\.scales"),
        (["w8a8-fp"], {"recipe": "paper-w4a61"}, "did you mean paper-w4a16"),
        (["w8a8-fp"], {"recipe": "openpangu", "samples": 8}, "calibration does nothing"),
        (["w8a8-fp"], {"effort": "slow"}, "effort 'slow' is not known"),
        (["w8a9"], {}, "format 'w8a9' is not known"),
        (["bf16"], {}, "its weights are the base's own"),
        (["bf16+kv-fp8"], {}, "start vLLM with --kv-cache-dtype fp8"),
        (["w8a8-fp", "w8a8-fp"], {"effort": "fast"}, "w8a8-fp is named twice"),
        (["w8a8-int", "w4a8-int"], {"budget": "6bits", "export": "ascend"}, "leave export or budget out"),
        ([], {}, "no format is named"),
        (["w8a8-fp"], {"export": "ascend"}, "no layout for vLLM on Ascend"),
        (["w8a8-int"], {"export": "mindie"}, "export 'mindie' is not known"),
    ],
)
def test_a_mistake_is_named(
    formats: list[str], options: dict[str, Any], message: str, block_llama: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        whichbits.quantize(str(block_llama), formats, tmp_path / "out", **options)


@pytest.mark.parametrize("there", ["w8a8-int", "w4a8-int-ascend"])
def test_a_folder_that_is_there_is_seen_before_anything_is_made(there: str, block_llama: Path, tmp_path: Path) -> None:
    (tmp_path / there).mkdir()
    with pytest.raises(UserError, match=f"{there} exists already"):
        whichbits.quantize(str(block_llama), ["w4a8-int", "w8a8-int"], tmp_path, recipe="openpangu", export="ascend")
    assert [entry.name for entry in tmp_path.iterdir()] == [there]


def test_ascend_gets_a_folder_of_its_own(block_llama: Path, tmp_path: Path) -> None:
    (row,) = whichbits.quantize(str(block_llama), ["w4a8-int"], tmp_path, recipe="openpangu", group_size=64, export="ascend")
    assert row.exported == tmp_path / "w4a8-int-ascend"
    description = json.loads((tmp_path / "w4a8-int-ascend" / "quant_model_description.json").read_text())
    assert description["group_size"] == 64
    kinds = {name: kind for name, kind in description.items() if name.endswith("_proj.weight")}
    assert len(kinds) == 14
    assert set(kinds.values()) == {"W4A8_DYNAMIC"}


def test_a_budget_makes_one_checkpoint_within_it(block_llama: Path, tmp_path: Path) -> None:
    few = {"calibration": "random", "samples": 2, "seq_length": 16}
    (row,) = whichbits.quantize(
        str(block_llama), ["w4a16-int", "w8a8-int"], tmp_path, recipe={"rounding": "gptq"}, group_size=64, budget="6bits", **few
    )
    assert row.folder == tmp_path / "mixed-6bits"
    assert 4.25 < row.bits_per_weight <= 6.01


def test_modules_whose_rounding_is_worse_are_named_on_the_console(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from whichbits.cli.app import app

    names = [f"model.layers.{number}.mlp.experts.3.up_proj" for number in range(2)]
    modules = [
        ModuleError(module=name, error=0.1, output_error=ours, rtn_output_error=2.0)
        for name, ours in zip(names, (1.0, 2.5), strict=True)
    ]
    made = QuantizedCheckpoint(
        "w4a16-int",
        tmp_path,
        bytes=1,
        bits_per_weight=4.5,
        gptq_vs_rtn=gptq_vs_rtn(modules),
        warnings=(),
        modules=tuple(modules),
    )
    monkeypatch.setattr(whichbits, "quantize", lambda *rest, **options: (made,))
    said = CliRunner().invoke(app, ["quantize", "model", "--format", "w4a16-int", "--out", str(tmp_path)]).output
    assert "the rounding made 1.250 times the error of rounding to nearest: model.layers.1.mlp.experts.3.up_proj" in said
    assert "mlp.experts.*.up_proj" in said and "0.875" in said


def test_a_disk_that_fills_up_during_the_pass_is_told(
    block_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from whichbits.quantization.passes import calibrated

    def full(*rest: Any, **options: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(calibrated, "stream", full)
    few = {"calibration": "random", "samples": 2, "seq_length": 16}
    with pytest.raises(UserError, match=f"the disk of {tmp_path} is full"):
        whichbits.quantize(str(block_llama), ["w8a8-int"], tmp_path, **few)
