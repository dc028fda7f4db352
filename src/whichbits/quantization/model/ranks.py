"""The processes of one calibrated pass, on one machine or several: each runs a share of the samples (SPMD)."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from whichbits.core.errors import UserError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")

JOINING = timedelta(minutes=30)
"""How long those that have started wait for the others."""

TIMEOUT = timedelta(days=30)
"""The others wait while the first generates text or rounds a layer. That a process is lost is seen by its closed connection,
and by what has started them (torchrun, Ray)."""


class Exchange(Protocol):
    """An exchange that has begun."""

    def wait(self) -> object:
        """Until it is done. Raises RuntimeError where another process has ended."""
        ...


class Group(Protocol):
    """What is used of torch's ProcessGroupGloo."""

    def broadcast(self, tensor: torch.Tensor, /, root: int) -> Exchange:
        """The root's tensor on all."""
        ...

    def send(self, tensors: list[torch.Tensor], rank: int, tag: int, /) -> Exchange:
        """To one rank."""
        ...

    def recv(self, tensors: list[torch.Tensor], rank: int, tag: int, /) -> Exchange:
        """From one rank, in place."""
        ...

    def barrier(self) -> Exchange:
        """Until all have come to it."""
        ...


class RankLost(Exception):
    """Another process of the pass has ended, or has not come, by what torch says."""

    def __init__(self, rank: int, count: int, error: Exception) -> None:
        super().__init__(f"process {rank} of {count} does not reach another: {_line(error)}")


@dataclass(frozen=True)
class Ranks:
    """This process's `rank` among the `count` of a pass, which exchange something by their `group`; alone it has none.

    All walk the same layers, and call what exchanges something in the same order. The first alone transforms, rounds and
    writes. Tensors travel by way of the CPU, and are there when they arrive. Raises RankLost where another process has ended.
    """

    rank: int = 0
    count: int = 1
    group: Group | None = None

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes."""
        return self.rank == 0

    def own(self, batches: Sequence[T]) -> Sequence[T]:
        """This rank's share of the batches of all: they are dealt in turn."""
        return batches[self.rank :: self.count]

    def own_samples(self, samples: torch.Tensor, together: int) -> torch.Tensor:
        """This rank's share of `samples` [samples, ...] of all, in whole batches of so many `together`."""
        import torch

        return torch.cat(list(self.own(torch.split(samples, together))))

    def of_first(self, make: Callable[[], T]) -> T:
        """What `make` returns on the first rank, where alone it is called."""
        if self.count == 1:
            return make()
        if self.first:
            made = make()
            _give(made, self._broadcast)
            return made
        taken: T = _take(self._broadcast)
        return taken

    def to_first(self, own: T) -> Iterator[T]:
        """On the first rank what each rank has, by rank, in memory one by one; nothing on the others. To be used up."""
        if not self.first:
            _give(own, partial(self._send, 0))
            return
        yield own
        for rank in range(1, self.count):
            yield _take(partial(self._receive, rank))

    def to_all(self, own: T) -> list[T]:
        """What each rank has, by rank."""
        found = list(self.to_first(own))
        return self.of_first(lambda: found)

    def wait(self) -> None:
        """Until all have come here."""
        if self.count > 1:
            with self._together() as group:
                group.barrier().wait()

    def _broadcast(self, tensor: torch.Tensor) -> None:
        with self._together() as group:
            group.broadcast(_bytes(tensor), root=0).wait()

    def _send(self, rank: int, tensor: torch.Tensor) -> None:
        with self._together() as group:
            group.send([_bytes(tensor)], rank, 0).wait()

    def _receive(self, rank: int, tensor: torch.Tensor) -> None:
        with self._together() as group:
            group.recv([_bytes(tensor)], rank, 0).wait()

    @contextmanager
    def _together(self) -> Iterator[Group]:
        assert self.group is not None, "several ranks have one"
        try:
            yield self.group
        except RuntimeError as error:
            raise RankLost(self.rank, self.count, error) from error


ALONE = Ranks()
"""One process for all samples."""


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that a launcher has started (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT: torchrun), or this one alone.

    Raises UserError where the launcher has not said how they find each other, and RankLost.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if count == "1":
        yield ALONE
        return
    from torch.distributed.distributed_c10d import PrefixStore, ProcessGroupGloo
    from torch.distributed.rendezvous import rendezvous

    try:
        rank, size = int(os.environ.get("RANK", "0")), int(count)
        store, *_ = next(rendezvous("env://", timeout=JOINING))
        # Not torch's default group: other libraries take that for theirs, and wait for all ranks when the first loads a model.
        group: Any = ProcessGroupGloo(PrefixStore("whichbits", store), rank, size, TIMEOUT)  # torch's stubs have no methods
    except ValueError as error:
        raise UserError(
            f"the {count} processes of WORLD_SIZE are not told how they find each other: {_line(error)}",
            remedy="start them by torchrun, or, for one alone, without WORLD_SIZE",
        ) from error
    except RuntimeError as error:
        raise RankLost(rank, size, error) from error
    yield Ranks(rank, size, group)


@contextmanager
def launched() -> Iterator[Ranks]:
    """What has `joined`, for a command that a user has started. Raises UserError in place of RankLost."""
    try:
        with joined() as ranks:
            yield ranks
    except RankLost as error:
        raise UserError(
            f"calibration by several processes: {error}",
            remedy="look at what the others have printed, and start all of them again: finished layers are kept",
        ) from error


Move = Callable[["torch.Tensor"], None]
"""Sends or receives the contents of a tensor that is contiguous and on the CPU."""


def _give(value: object, move: Move) -> None:
    """Send a value: pickled, and the tensors in it as they are."""
    import torch

    tensors: list[torch.Tensor] = []

    class Apart(pickle.Pickler):
        def persistent_id(self, item: Any) -> tuple[torch.dtype, torch.Size] | None:
            if not isinstance(item, torch.Tensor):
                return None
            tensors.append(item)
            return item.dtype, item.shape

    rest = io.BytesIO()
    Apart(rest).dump(value)
    move(torch.tensor([rest.getbuffer().nbytes]))
    move(torch.frombuffer(bytearray(rest.getbuffer()), dtype=torch.uint8))
    for tensor in tensors:
        if tensor.numel():
            move(tensor.detach().cpu().contiguous())


def _take(move: Move) -> Any:
    """Receive a value that was sent by `_give`."""
    import torch

    class Together(pickle.Unpickler):
        def persistent_load(self, sent: tuple[torch.dtype, torch.Size]) -> torch.Tensor:
            dtype, shape = sent
            received = torch.empty(shape, dtype=dtype)
            if received.numel():
                move(received)
            return received

    size = torch.zeros(1, dtype=torch.int64)
    move(size)
    rest = torch.empty(int(size), dtype=torch.uint8)
    move(rest)
    return Together(io.BytesIO(rest.numpy().tobytes())).load()


def _bytes(tensor: torch.Tensor) -> torch.Tensor:
    """The bytes of a contiguous tensor, in place: gloo does not know every dtype."""
    import torch

    return tensor.reshape(-1).view(torch.uint8)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
