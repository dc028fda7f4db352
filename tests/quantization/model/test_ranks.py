from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from torch.distributed import HashStore, ProcessGroupGloo  # noqa: E402

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.model.ranks import ALONE, Ranks, joined  # noqa: E402
from whichbits.quantization.statistics.forward import InputStatistics, merged  # noqa: E402


def by_each(count: int, work: Callable[[Ranks], Any]) -> list[Any]:
    """What `work` returns on each of so many ranks, threads of this process."""
    store = HashStore()

    def rank(number: int) -> Any:
        return work(Ranks(number, count, ProcessGroupGloo(store, number, count)))

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(rank, range(count)))


def test_what_the_first_makes_is_what_all_have() -> None:
    made = {
        "packed": torch.arange(6, dtype=torch.int32).reshape(2, 3).T,
        "weight": torch.randn(3, 5).to(torch.float8_e4m3fn),
        "scale": torch.randn(3).bfloat16(),
        "one": torch.tensor(2.5),
        "nothing": torch.empty(0, 4),
    }
    asked = []

    def work(ranks: Ranks) -> Any:
        def make() -> Any:
            asked.append(ranks.rank)
            return "layer", made

        return ranks.of_first(make)

    for name, tensors in by_each(3, work):
        assert name == "layer"
        assert tensors.keys() == made.keys()
        for key, tensor in tensors.items():
            assert (tensor.dtype, tensor.shape) == (made[key].dtype, made[key].shape)
            assert torch.equal(tensor.float(), made[key].float())
    assert asked == [0]


def test_the_first_receives_what_each_has_by_rank() -> None:
    found = by_each(3, lambda ranks: list(ranks.to_first({"rank": ranks.rank, "own": torch.full((2,), ranks.rank)})))
    assert [each["rank"] for each in found[0]] == [0, 1, 2]
    assert [each["own"].tolist() for each in found[0]] == [[0, 0], [1, 1], [2, 2]]
    assert found[1:] == [[], []]
    assert by_each(2, lambda ranks: ranks.to_all(ranks.rank)) == [[0, 1], [0, 1]]


def test_batches_are_dealt_in_turn_and_alone_nothing_changes() -> None:
    samples = torch.arange(7).reshape(7, 1)
    shares = [Ranks(rank, 3).own_samples(samples, 2).flatten().tolist() for rank in range(3)]
    assert shares == [[0, 1, 6], [2, 3], [4, 5]]
    assert torch.equal(ALONE.own_samples(samples, 2), samples)
    assert ALONE.to_all("own") == list(ALONE.to_first("own")) == [ALONE.of_first(lambda: "own")]


def test_statistics_of_experts_that_not_every_rank_has_seen() -> None:
    torch.manual_seed(0)
    seen = {0: {"router": torch.randn(4, 8)}, 1: {"router": torch.randn(4, 8), "expert": torch.randn(2, 8)}}

    def statistics(of: list[torch.Tensor], name: str) -> InputStatistics:
        found = InputStatistics(torch.zeros(8, 8), torch.zeros(8), [name])
        for inputs in of:
            found.add(inputs, None)
        found.complete()
        return found

    def work(ranks: Ranks) -> Any:
        own = {name: InputStatistics(torch.zeros(8, 8), torch.zeros(8), [name]) for name in seen[ranks.rank]}
        for name, inputs in seen[ranks.rank].items():
            own[name].add(inputs, None)
        return merged([own], torch.device("cpu"), ranks)

    first, second = by_each(2, work)
    assert second == []
    assert [found.modules for found in first] == [["router"], ["expert"]]
    whole = [statistics([seen[0]["router"], seen[1]["router"]], "router"), statistics([seen[1]["expert"]], "expert")]
    for found, expected in zip(first, whole, strict=True):
        for name in ("hessian", "largest", "fourth"):
            torch.testing.assert_close(getattr(found, name), getattr(expected, name))


def test_a_process_that_is_alone_joins_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    for environment in ({}, {"WORLD_SIZE": "1", "RANK": "0"}):
        monkeypatch.delenv("WORLD_SIZE", raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        with joined() as ranks:
            assert ranks is ALONE
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(UserError, match=r"the 2 processes of WORLD_SIZE are not told how they find each other: .*MASTER_ADDR"),
        joined(),
    ):
        pass
