"""What a store's files say, and when they must not be believed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from whichbits.schema.deployment import Deployment, EngineUsed
from whichbits.schema.inputs import Inputs
from whichbits.schema.labels import Labels
from whichbits.schema.provenance import Provenance
from whichbits.schema.quantize import QuantizeSummary
from whichbits.schema.step import Step
from whichbits.studies.conclusion import GIVEN, VLLM, at, judge, priced_deployment, read_verdict, serve_commands
from whichbits.studies.store.manifest import StudyManifest, entries
from whichbits.studies.store.store import Store
from whichbits.verdict.assemble import decide
from whichbits.verdict.findings import Findings


class Given(Inputs, extra="allow"):
    """Inputs of a kind of step that only tests know."""


MANIFEST = StudyManifest(
    study="s", specification="", command="", model="m", notes=(), base="bf16", base_bytes=1, formats={"bf16": "bf16"},
    margin=0.1, seed=0, hardware="", engines=(), workloads={}, prices="default", steps=entries({}), version="1",
    deployments={"here": Deployment(hardware="this-machine", price_per_hour=5.0, price_source=GIVEN)},
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with a verdict that is newer than its manifest."""
    verdict = decide(Findings(base="bf16", formats={"bf16": "bf16"}), study="s", model="m", margin=MANIFEST.margin)
    for name, text, second in (("study.json", "{}", 1), ("verdict.json", verdict.model_dump_json(), 2)):
        (tmp_path / name).write_text(text)
        os.utime(tmp_path / name, (second, second))
    return tmp_path


def test_a_verdict_is_read_back(store: Path):
    verdict = read_verdict(MANIFEST, store)
    assert verdict is not None
    assert verdict.study == "s"


def test_a_verdict_at_another_margin_is_not_the_manifests(store: Path):
    assert read_verdict(at(MANIFEST, 0.4, {}), store) is None


def test_a_verdict_from_before_the_last_run_is_not_believed(store: Path):
    os.utime(store / "study.json", (3, 3))
    assert read_verdict(MANIFEST, store) is None


def test_a_price_given_now_comes_before_the_specifications() -> None:
    priced = priced_deployment("h100", 2, 9.0, "default", {"h100": 2.0})
    assert (priced.price_per_hour, priced.price_source == GIVEN) == (4.0, False)
    for other in ({}, {"a100-80gb": 1.0}):
        kept = priced_deployment("h100", 2, 9.0, "default", other)
        assert (kept.price_per_hour, kept.price_source) == (9.0, GIVEN)
    assert at(MANIFEST, None, {"cpu": 3.0}).deployments["here"].price_per_hour == 3.0


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b'{"study": ', b"{}"])
def test_a_verdict_that_cannot_be_read_is_none(store: Path, content: bytes | None):
    (store / "verdict.json").unlink()
    if content is not None:
        (store / "verdict.json").write_bytes(content)
    assert read_verdict(MANIFEST, store) is None


@pytest.mark.parametrize(
    ("prices", "expected"), [({"h100": 3.0}, 5.0), ({"cpu": 3.0}, 3.0), ({}, 5.0)], ids=["other device", "this device", "none"]
)
def test_a_price_of_the_specification_yields_to_one_for_the_same_device(
    prices: dict[str, float], expected: float, monkeypatch: pytest.MonkeyPatch
):
    judged: list[float] = []

    def collect(*_: object, deployments: dict[str, Deployment], **__: object) -> Findings:
        judged.append(deployments["here"].price_per_hour)
        return Findings(base="bf16", formats={"bf16": "bf16"})

    monkeypatch.setattr("whichbits.verdict.collect.collect", collect)
    judge(at(MANIFEST, None, prices), [])
    assert judged == [expected]


def test_each_checkpoint_that_is_here_has_the_command_that_serves_it(tmp_path: Path):
    store = Store(tmp_path)
    made, missing = (Step("quantize", 1, Given(n=n), labels=Labels(candidate=f"int{n}")) for n in (8, 4))
    store.finish(made, store.partial(made), QuantizeSummary(bytes=1), Provenance())
    manifest = StudyManifest(
        study="s", specification="", command="", model="m", notes=(), base="bf16", base_bytes=1, margin=0.1, seed=0,
        hardware="", formats={"bf16": "bf16", "int8": "w8a8-int", "int4": "w4a16-int", "cache": "bf16+kv-fp8"}, engines=(),
        workloads={}, deployments={}, prices="default", steps=entries([made, missing]), version="1",
        checkpoints={"bf16": "/models/a model", "cache": "/models/b"},
    )  # fmt: skip
    assert serve_commands(manifest, manifest.records(store)) == {
        "bf16": "vllm serve '/models/a model'",
        "cache": "vllm serve /models/b --kv-cache-dtype fp8",
        "int8": f"vllm serve {tmp_path}/steps/quantize/{made.key}/checkpoint",
    }


@pytest.mark.parametrize("trusted", [True, False])
def test_a_model_that_was_served_with_its_own_code_is_served_with_it_again(trusted: bool):
    vllm = EngineUsed(name=VLLM, version="1", arguments={"trust-remote-code": trusted, "max-model-len": 512})
    manifest = MANIFEST.model_copy(update={"engines": (vllm,), "checkpoints": {"bf16": "/m"}})
    assert serve_commands(manifest, []) == {"bf16": "vllm serve /m --trust-remote-code" if trusted else "vllm serve /m"}
