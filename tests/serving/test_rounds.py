from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.core.errors import UserError
from whichbits.schema.serve import Evidence, Metrics
from whichbits.serving.result import LoadLevelResult
from whichbits.serving.rounds import concurrencies, fixed, measure_round, order
from whichbits.serving.workload import at_concurrency, parse_workload

NAMES = ["bf16", "w4a16-int", "w8a8-int", "w8a8-fp"]
AUTO = parse_workload({"name": "chat", "prompt_tokens": 64, "output_tokens": 8})


def result(concurrency: int, rate: float | None) -> LoadLevelResult:
    metrics = Metrics(
        requests_per_second=rate, output_tokens_per_second=rate, ttft_s=None, itl_s=None, tpot_s=None, latency_s=None
    )
    fields = dict.fromkeys(Evidence.model_fields) | {
        "requests": 1, "requests_planned": 1, "errors": 0, "client_cpu": 0.0, "client_busiest_cpu": 0.0, "client_cpus": 1,
        "clock_step_s": 0.0,
    }  # fmt: skip
    return LoadLevelResult(
        load_level=at_concurrency(AUTO, concurrency).name, concurrency=concurrency, rate=None,
        valid=rate is not None, reasons=(), metrics=metrics, evidence=Evidence.model_validate(fields), rows=(),
    )  # fmt: skip


class Servers:
    """Candidates that serve so many requests at once; remembers what each was asked to measure."""

    def __init__(self, **slots: int) -> None:
        self.slots = slots
        self.asked: list[tuple[str, tuple[int, ...] | str, int]] = []

    def measure(self, name, workload, at_least):
        self.asked.append((name, workload.concurrency, at_least))
        if self.slots[name] < 0:
            return UserError("the server died", remedy="look at its log")
        loads = [1] if workload.synchronous else []
        if workload.concurrency == "auto":
            loads += [2]
            while loads[-1] <= self.slots[name] or loads[-1] < at_least:
                loads.append(2 * loads[-1])
        else:
            loads += workload.concurrency
        return [result(load, float(min(load, self.slots[name])) or None) for load in loads]


def test_the_order_is_shuffled_and_every_second_round_is_the_reverse_of_the_one_before():
    rounds = [order(NAMES, seed=3, repeat=repeat) for repeat in range(40)]
    assert all(sorted(names) == sorted(NAMES) for names in rounds)
    assert all(rounds[r] == rounds[r + 1][::-1] for r in range(0, 40, 2))
    assert {names[0] for names in rounds} == set(NAMES)
    assert rounds == [order(NAMES[::-1], seed=3, repeat=repeat) for repeat in range(40)]
    assert rounds != [order(NAMES, seed=4, repeat=repeat) for repeat in range(40)]


def test_a_steady_drift_favours_nobody_over_two_rounds():
    first, second = (order(NAMES, seed=0, repeat=repeat) for repeat in (0, 1))
    assert {first.index(name) + second.index(name) for name in NAMES} == {3}


@pytest.mark.parametrize("names", [("slow", "fast"), ("fast", "slow")])
def test_all_candidates_are_measured_at_the_same_loads_whoever_comes_first(names):
    servers = Servers(slow=2, fast=16)
    measured = measure_round(dict.fromkeys(names, AUTO), servers.measure)
    assert {name: concurrencies(results) for name, results in measured.items()} == dict.fromkeys(names, (2, 4, 8, 16, 32))
    assert [one.concurrency for one in measured["slow"]] == [1, 2, 4, 8, 16, 32]
    assert fixed(AUTO, measured).concurrency == (2, 4, 8, 16, 32)


def test_stated_loads_stay_as_they_are():
    servers = Servers(slow=2, fast=16)
    stated = AUTO.model_copy(update={"concurrency": (4, 8)})
    other = stated.model_copy(update={"concurrency": (16,)})
    measured = measure_round({"slow": stated, "fast": other}, servers.measure)
    assert [asked[:2] for asked in servers.asked] == [("slow", (4, 8)), ("fast", (16,))]
    assert fixed(stated, measured) == stated


def test_what_fails_or_breaks_down_is_not_measured_further():
    servers = Servers(dead=-1, refusing=0, fast=4)
    measured = measure_round(dict.fromkeys(("refusing", "fast", "dead"), AUTO), servers.measure)
    assert isinstance(measured["dead"], UserError)
    assert concurrencies(measured["refusing"]) == (2,)
    assert [name for name, _, _ in servers.asked] == ["refusing", "fast", "dead"]
    assert fixed(AUTO, {"dead": measured["dead"]}).concurrency == "auto"


def test_the_ladder_of_real_servers_is_the_longest_of_theirs(start_engine, word_tokenizer: Path):
    """Servers of two slots and of four: alone, the first ends at 4 in flight."""
    pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")
    from whichbits.serving.measure import measure

    urls = {"two": start_engine(ttft=0.05, itl=0.01, slots=2), "four": start_engine(ttft=0.05, itl=0.01, slots=4)}
    workload = AUTO.model_copy(update={"synchronous": False, "requests_per_stream": 5})

    def of(name, workload, at_least):
        return measure(urls[name], "m", word_tokenizer, workload, seed=1, at_least=at_least)

    measured = measure_round(dict.fromkeys(("two", "four"), workload), of)
    loads = concurrencies(measured["four"])
    assert loads == tuple(2 ** (n + 1) for n in range(len(loads)))
    assert concurrencies(measured["two"]) == loads
    later = fixed(workload, measured)
    assert [one.concurrency for one in measure(urls["two"], "m", word_tokenizer, later, seed=2)] == [*loads]


def test_a_server_that_only_refuses_is_not_put_under_more_load(start_engine, word_tokenizer: Path):
    pytest.importorskip("aiohttp", reason="aiohttp, of the extra 'measure', is not installed")
    from whichbits.serving.measure import measure

    with pytest.raises(UserError, match="500: out of order"):
        measure(start_engine(ttft=0.01, itl=0.01, fail_every=1), "m", word_tokenizer, AUTO, seed=1, at_least=64)
