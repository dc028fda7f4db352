from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Event

import pytest

torch = pytest.importorskip("torch")

from whichbits.quantization.model.prefetch import prefetched_layers  # noqa: E402


class Layers(Mapping[str, torch.Tensor]):
    """Four layers of one tensor each; says which were read, and cannot read those that are broken."""

    def __init__(self, broken: int | None = None) -> None:
        self.read = [Event() for _ in range(4)]
        self._broken = broken

    def __iter__(self) -> Iterator[str]:
        return (f"model.layers.{number}.weight" for number in range(4))

    def __len__(self) -> int:
        return 4

    def __getitem__(self, name: str) -> torch.Tensor:
        number = int(name.split(".")[2])
        if number == self._broken:
            raise OSError("no such file")
        self.read[number].set()
        return torch.full((3, 2000), float(number))


def test_the_next_layer_is_read_meanwhile_and_no_more() -> None:
    layers = Layers()
    order = [3, 2, 0, 1]
    for place, found in enumerate(prefetched_layers(layers, order)):
        assert list(found) == ["weight"]
        assert float(found["weight"][0, 0]) == order[place]
        if place < 3:
            assert layers.read[order[place + 1]].wait(timeout=10)
        assert not any(layers.read[number].is_set() for number in order[place + 2 :])


def test_what_cannot_be_read_is_said_when_it_is_wanted() -> None:
    layers = prefetched_layers(Layers(broken=1), range(4))
    assert float(next(layers)["weight"][0, 0]) == 0
    with pytest.raises(OSError, match="no such file"):
        next(layers)
