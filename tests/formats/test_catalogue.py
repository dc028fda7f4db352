from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.formats.catalogue import aliases_of, canonical, catalogue, find_name, get, load, without_kernel
from whichbits.formats.format import fit, quantization_config

LLAMA_8B = {(4096, 4096), (1024, 4096), (14336, 4096), (4096, 14336)}


def test_the_catalogue_names_every_format_of_the_study() -> None:
    assert list(load()) == [
        "bf16", "fp16", "w8a8-fp", "w8a8-int", "w8a8-fp-static", "w8a8-int-static", "w4a16-int", "w4a16-int-asym",
        "w4a16-int-channel", "w4a8-int", "w4a8-int-packed", "w4a8-fp", "fp8-block", "nvfp4", "nvfp4a16", "mxfp4", "mxfp8",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spelled", "name"),
    [
        ("fp8", "w8a8-fp"),
        ("int8", "w8a8-int"),
        ("int4", "w4a16-int"),
        ("w4a16", "w4a16-int"),
        ("bfloat16", "bf16"),
        ("FP8+KV_FP8", "w8a8-fp+kv-fp8"),
        (" W8A8-INT ", "w8a8-int"),
        ("w8a8_fp_static", "w8a8-fp-static"),
        ("nvfp4", "nvfp4"),
    ],
)
def test_an_alias_is_its_format(spelled: str, name: str) -> None:
    assert canonical(spelled) == name
    assert get(spelled) == get(name)
    assert get(spelled).name == name


def test_aliases_mean_one_format_each() -> None:
    known = catalogue()
    assert not set(known.aliases) & set(known.formats)
    assert set(known.aliases.values()) <= set(known.formats)
    assert all(find_name(alias) == name and alias in aliases_of(name) for alias, name in known.aliases.items())


@pytest.mark.parametrize("name", ["w8a8-fp+", "w8a8-fp+kv-int4", "w3a3+kv-fp8", "", "+kv-fp8"])
def test_what_is_no_format_has_no_name(name: str) -> None:
    assert find_name(name) is None


@pytest.mark.parametrize(
    ("name", "near"), [("int-4", "w4a16-int"), ("w8a8-flt", "w8a8-fp"), ("fp-8+kv-fp4", "w8a8-fp+kv-fp8"), ("marlin", None)]
)
def test_did_you_mean_knows_aliases(name: str, near: str | None) -> None:
    with pytest.raises(UserError) as caught:
        canonical(name)
    hint, asked, _ = caught.value.remedy.partition("? ")
    assert (near in hint.removeprefix("did you mean ").split(" or ")) if near else not asked


def test_a_quantized_cache_goes_with_any_format() -> None:
    both = fit(get("w4a16-int+kv-fp8"), LLAMA_8B)
    assert both.name == "w4a16-int+kv-fp8"
    assert both.weights == fit(get("w4a16-int"), LLAMA_8B).weights
    stated = {"num_bits": 8, "type": "float", "symmetric": True, "strategy": "tensor", "dynamic": False}
    assert quantization_config(both, [])["kv_cache_scheme"] == stated
    assert "kv_cache_scheme" not in quantization_config(get("w8a8-int"), [])
    for name in ("w8a8-int+kv-int4", "w8a8-int+", "w9+kv-fp8"):
        with pytest.raises(UserError, match="is not known"):
            get(name)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(UserError, match="format 'w4a4' is not known") as caught:
        get("w4a4")
    assert "w8a8-int" in caught.value.remedy


def test_the_catalogue_needs_no_torch() -> None:
    code = "import sys; from whichbits.formats.catalogue import load; load(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


FORMAT = """\
formats:
  w6a16-int:
    title: W6A16-INT
    aliases: [int6]
    purpose: Six bits.
    storage: int-quantized
    stored_bits: 8
    scale_bits: 16
    weights: {num_bits: 6, type: int, symmetric: true, strategy: channel, dynamic: false}
kernels:
  vllm:
    - {kernel: Mine, devices: [cuda], formats: [w6a16-int], capability: [8.0, 9.0], status: native, reason: six, seen: read}
"""

CACHE = """\
kv_caches:
  kv-int8:
    title: INT8 key-value cache
    values: {num_bits: 8, type: int, symmetric: true, strategy: tensor, dynamic: false}
    elsewhere: no attention kernel reads it
"""


@pytest.fixture
def own_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file of formats that the environment names."""
    path = tmp_path / "formats.yaml"
    monkeypatch.setenv("WHICHBITS_FORMATS", str(path))
    catalogue.cache_clear()
    yield path
    catalogue.cache_clear()


def test_a_file_of_the_user_s_adds_formats_with_their_kernels(own_file: Path) -> None:
    own_file.write_text(FORMAT)
    assert get("INT6").bits_per_weight(128, 128) == 8 + 16 / 128
    assert get("w6a16-int+kv-fp8").kv_cache is not None
    assert get("w6a16-int").minimal_compute_capability == "8.0"
    assert without_kernel("w6a16-int", "cuda", 8.6) is None
    assert without_kernel("w6a16-int", "cpu", 0.0) == "no kernel for it is known"
    assert list(load())[-1] == "w6a16-int"


def test_a_file_of_the_user_s_adds_a_cache(own_file: Path) -> None:
    own_file.write_text(CACHE)
    assert get("bf16+kv-int8").kv_cache is not None
    assert without_kernel("bf16+kv-int8", "cuda", 9.0) == "no attention kernel reads it"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (FORMAT.replace("int6", "int8"), "there is a format 'int8' already"),
        (FORMAT.replace("w6a16-int:", "w8a8-int:"), "there is a format 'w8a8-int' already"),
        (FORMAT.replace("num_bits", "bits"), "not of the form of the catalogue of formats"),
        (FORMAT + "formatz: {}", "'formatz' is not one of formats, kv_caches, kernels"),
        (CACHE.replace("kv-int8", "kv-fp8"), "there is a key-value cache 'kv-fp8' already"),
        (CACHE.replace("elsewhere", "somewhere"), "not of the form of the catalogue of formats"),
        (CACHE + "    more: 1", "not of the form of the catalogue of formats"),
        ("formats: [", "not of the form of the catalogue of formats"),
        ("- w6", "not of the form of the catalogue of formats"),
    ],
)
def test_a_file_that_is_not_of_the_catalogue_s_form_is_refused(own_file: Path, text: str, says: str) -> None:
    own_file.write_text(text)
    with pytest.raises(UserError, match=says) as raised:
        load()
    assert "WHICHBITS_FORMATS" in raised.value.message
    assert raised.value.remedy
