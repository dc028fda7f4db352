"""Mistakes about servers: what the specification says of their machine and memory, and of those at addresses of the user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whichbits.engines.vllm.server_arguments import Settings
from whichbits.formats.catalogue import get
from whichbits.hardware.this_machine import Hardware
from whichbits.schema.engine import EngineIdentity
from whichbits.schema.hardware import Gpu
from whichbits.studies.execution.servers import resident_servers
from whichbits.studies.planning.addresses import check_caches, identities, longest_request
from whichbits.studies.planning.claims import caveats, devices_used, nodes_used
from whichbits.studies.specification.engine import Engine
from whichbits.studies.specification.schema import Deployment
from whichbits.studies.steps.shared.same_server import check_same

H100 = "NVIDIA H100 80GB HBM3"


def machine(*gpus: str) -> Hardware:
    return Hardware("a machine", "cpu", "x86_64", (), 2, 8192, tuple(Gpu(name, 81920, "9.0", "1") for name in gpus))


@pytest.mark.parametrize(
    ("gpus", "wrong", "tensor_parallel", "right", "then_parallel"),
    [
        ([], {"hardware": "h100"}, None, {}, None),
        ([], {"count": 2}, None, {}, None),
        ([H100], {"hardware": "cpu"}, None, {}, None),
        ([H100], {"hardware": "a100-80gb"}, None, {}, None),
        ([H100], {"hardware": "h100", "count": 2}, 2, {"hardware": "h100"}, 1),
        ([H100, H100], {"count": 1}, 2, {"count": 2}, 2),
        ([H100, H100], {"count": 1}, 2, {"count": 1}, 1),
        ([H100, H100], {"count": 2}, None, {"count": 2}, 2),
        ([H100, H100], {"count": 2}, None, {"count": 1}, None),
        ([H100], {}, 2, {}, None),
    ],
)
def test_a_deployment_that_is_not_this_machine(
    follow: Any,
    gpus: list[str],
    wrong: dict[str, Any],
    tensor_parallel: int | None,
    right: dict[str, Any],
    then_parallel: int | None,
) -> None:
    def run(deployment: dict[str, Any], parallel: int | None) -> None:
        arguments = {"tensor-parallel-size": parallel} if parallel else {}
        caveats(Deployment(**deployment), Engine(arguments=arguments), machine(*gpus))

    error = follow("{problem}", mistake=lambda: run(wrong, tensor_parallel), remedy=lambda: run(right, then_parallel))
    if "arguments ask for" in error.message:
        assert error.remedy.startswith(f"give {'' if len(gpus) == 1 else 'count: '}")


@pytest.mark.parametrize("wrong", ["two", 0, True, 1.5, -1])
def test_a_number_of_devices(follow: Any, wrong: object) -> None:
    follow(
        "is no number of {what}",
        mistake=lambda: devices_used(Engine(arguments={"tensor-parallel-size": wrong})),
        remedy=lambda: devices_used(Engine(arguments={"tensor-parallel-size": 1})),
    )


def test_devices_of_several_machines(follow: Any) -> None:
    def of(nodes: int) -> int:
        return nodes_used(Engine(arguments={"tensor-parallel-size": 8, "nnodes": nodes}))

    follow("cannot be shared out evenly", mistake=lambda: of(3), remedy=lambda: of(2))
    follow("is no number of {what}", mistake=lambda: of(0), remedy=lambda: of(1))


@pytest.mark.parametrize("wrong", ["2.5", "4GiB", "", "-1"])
def test_the_size_of_a_cache(follow: Any, wrong: str) -> None:
    def servers(size: str) -> int:
        return resident_servers(machine(), Settings({}, {"VLLM_CPU_KVCACHE_SPACE": size}, (), ()), {"bf16": 1})

    follow("VLLM_CPU_KVCACHE_SPACE", mistake=lambda: servers(wrong), remedy=lambda: servers("4"))


def test_an_address_of_two_candidates(follow: Any, fake: Any) -> None:
    one, other = fake(models=[{"id": "a"}, {"id": "b"}]), fake()
    weights = {"bf16": "some", "w8a8-int": "others"}

    def ask(second: str, names: dict[str, str]) -> None:
        identities(Engine(kind="url", urls={"bf16": one.url, "w8a8-int": second}, served_model_name=names), weights)

    def twice() -> None:
        ask(one.url, {"bf16": "a", "w8a8-int": "a"})

    error = "whose weights are others"
    follow(error, mistake=twice, remedy=lambda: ask(other.url, {"bf16": "a", "w8a8-int": "m"}))
    follow(error, mistake=twice, remedy=lambda: ask(one.url, {"bf16": "a", "w8a8-int": "b"}))


def test_candidates_in_different_engines(follow: Any, fake: Any) -> None:
    old, new, same = fake(), fake(pages={"/version": {"version": "1.3"}}), fake()

    def ask(second: Any) -> None:
        identities(Engine(kind="url", urls={"a": old.url, "b": second.url}), {"a": 1, "b": 2})

    follow("that of {other} is {before}", mistake=lambda: ask(new), remedy=lambda: ask(same))


@pytest.mark.parametrize(
    ("format", "base", "wrong", "right"),
    [
        ("w8a8-int", "auto", "fp8", "auto"),
        ("w8a8-int", "fp8", "bfloat16", "fp8"),
        ("w8a8-int+kv-fp8", "auto", "bfloat16", "fp8_e4m3"),
        ("w8a8-int+kv-fp8", "fp8", "fp8", None),
    ],
)
def test_a_cache_of_other_values(follow: Any, fake: Any, format: str, base: str, wrong: str, right: str | None) -> None:
    def server(dtype: str) -> Any:
        return fake(pages={"/version": {"version": "1"}, "/metrics": f'vllm:cache_config_info{{cache_dtype="{dtype}"}} 1.0\n'})

    def ask(of_base: str, own: str, name: str = format) -> None:
        urls = {"bf16": server(of_base).url, name: server(own).url}
        found = identities(Engine(kind="url", urls=urls), {"bf16": 1, name: 2})
        check_caches(found, {name: get(name) for name in found}, "bf16")

    error = "keeps keys and values in"
    follow(error, mistake=lambda: ask(base, wrong), remedy=lambda: ask("auto" if right is None else base, right or wrong))
    if wrong == "fp8":
        follow(error, mistake=lambda: ask(base, wrong), remedy=lambda: ask("auto", wrong, "w8a8-int+kv-fp8"))


def test_an_address_that_does_not_answer_is_named_with_its_candidate(follow: Any, fake: Any) -> None:
    server, none = fake(), fake(models=[])

    def ask(url: str) -> None:
        identities(Engine(kind="url", urls={"a": url}), {"a": 1})

    error = follow("{name}: {message}", mistake=lambda: ask(f"{server.url}/no"), remedy=lambda: ask(server.url))
    assert error.message.startswith("a: ")
    assert "correct the url" in error.remedy
    error = follow("{name}: {message}", mistake=lambda: ask(none.url), remedy=lambda: ask(server.url))
    assert error.remedy == "start the server with a model"


def test_a_server_of_too_short_a_context(follow: Any, fake: Any) -> None:
    short, long = fake(), fake(models=[{"id": "m", "max_model_len": 128}])

    def ask(server: Any, needed: int) -> None:
        longest_request(identities(Engine(kind="url", urls={"a": server.url}), {"a": 1}), needed)

    error = follow("takes {length} tokens", mistake=lambda: ask(short, 128), remedy=lambda: ask(long, 128))
    assert "--max-model-len 128" in error.remedy
    follow("takes {length} tokens", mistake=lambda: ask(short, 128), remedy=lambda: ask(short, 64))


def test_a_server_that_has_changed_since_the_plan(follow: Any, fake: Any) -> None:
    server = fake()

    def plan() -> EngineIdentity:
        return identities(Engine(kind="url", urls={"a": server.url}), {"a": 1})["a"]

    expected = plan()
    server.pages["/version"] = {"version": "1.3"}
    error = "has changed: its {field} was"
    follow(error, mistake=lambda: check_same("a", expected), remedy=lambda: check_same("a", plan()))


def test_a_step_that_failed(follow: Any, fake: Any, tiny_llama: Path, tmp_path: Path) -> None:
    """The log and the folder of failures say what the server said; once it answers, the same command goes on."""
    pytest.importorskip("lm_eval")
    import whichbits

    task = tmp_path / "parity.jsonl"
    task.write_text('{"question": "2 is", "choices": ["even", "odd"], "answer": 0}\n')
    server = fake(change=lambda answer, request: {"error": {"message": "the engine is dead"}})
    store = tmp_path / "store"

    def evaluate() -> None:
        (row,) = whichbits.evaluate(str(tiny_llama), [str(task)], url=server.url, store=store)
        assert row.n == 1

    def fix() -> None:
        assert "the engine is dead" in (store / "run.log").read_text()
        assert list((store / "failed").rglob("error.json"))
        server.change = None
        evaluate()

    raised = follow("{kind}: {message}", mistake=evaluate, remedy=fix)
    assert str(store / "run.log") in raised.remedy
