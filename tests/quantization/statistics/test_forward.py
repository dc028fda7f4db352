from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from whichbits.quantization.model.decoder import Call  # noqa: E402
from whichbits.quantization.model.replicas import Replica, filled  # noqa: E402
from whichbits.quantization.statistics.forward import observe  # noqa: E402


class Block(torch.nn.Module):
    """Two linear layers that read one norm's output, and a third behind them that reads its own."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.RMSNorm(8)
        self.left, self.right, self.down = torch.nn.Linear(8, 6), torch.nn.Linear(8, 6), torch.nn.Linear(6, 8)

    def forward(self, hidden: torch.Tensor, factor: float) -> torch.Tensor:
        normed = self.norm(hidden)
        return hidden + factor * self.down(self.left(normed) * self.right(normed))


@torch.no_grad()
@pytest.mark.parametrize("replicas", [1, 2])
def test_statistics_and_outputs_with_a_reference_beside(replicas: int) -> None:
    torch.manual_seed(0)
    block = Block()
    inputs, reference = [[torch.randn(1, 5, 8) for _ in range(3)] for _ in range(2)]
    layers = filled(block, block.state_dict(), Call((), {"factor": 0.5}), ["cpu"] * replicas)
    found = observe(layers, ["left", "right", "down"], inputs, reference)
    assert [fed.modules for fed in found.statistics] == [["left", "right"], ["down"]]
    assert [fed.norm for fed in found.statistics] == ["norm", None]

    def middle(hidden: torch.Tensor) -> torch.Tensor:
        return block.left(block.norm(hidden)) * block.right(block.norm(hidden))

    for fed, of in zip(found.statistics, (block.norm, middle), strict=True):
        x, b = (torch.cat([of(hidden)[0] for hidden in stream]) for stream in (inputs, reference))
        torch.testing.assert_close(fed.hessian, x.T @ x)
        torch.testing.assert_close(fed.cross, (b - x).T @ x)
        torch.testing.assert_close(fed.largest, x.abs().amax(dim=0))
    for outputs, stream in ((found.outputs, inputs), (found.reference, reference)):
        assert outputs is not None
        assert all(torch.equal(output, block(hidden, 0.5)) for output, hidden in zip(outputs, stream, strict=True))
    assert not any(replica.layer.norm._forward_hooks or replica.layer.left._forward_pre_hooks for replica in layers)


class Adds(torch.nn.Module):
    """Adds to what it is given: a linear layer of it, then, by a factor, one of the normed sum."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = torch.nn.Linear(8, 8, bias=False)
        self.norm = torch.nn.RMSNorm(8)
        self.down = torch.nn.Linear(8, 8, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        middle = hidden + self.mix(hidden.tanh())
        return middle + 0.5 * self.down(self.norm(middle))


@torch.no_grad()
@pytest.mark.parametrize("replicas", [1, 2])
def test_the_error_of_the_stream_where_modules_add_to_it_and_tokens_that_count_more(replicas: int) -> None:
    torch.manual_seed(0)
    block = Adds()
    inputs, reference = [[torch.randn(1, 5, 8) for _ in range(3)] for _ in range(2)]
    weights = [{name: torch.rand(5) for name in ("mix", "down")} for _ in range(3)]
    layers = filled(block, block.state_dict(), Call((), {}), ["cpu"] * replicas)
    mix, down = observe(layers, ["mix", "down"], inputs, reference, weights).statistics

    def both(given: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = torch.cat(given).flatten(0, 1)
        return hidden, hidden + block.mix(hidden.tanh())

    (first, middle), (first_beside, middle_beside) = both(inputs), both(reference)
    for fed, name, x, error in (
        (mix, "mix", first.tanh(), (first_beside - first) / 2),
        (down, "down", block.norm(middle), (middle_beside - middle) / 0.5 / 2),
    ):
        counted = torch.cat([each[name] for each in weights]).unsqueeze(1)
        torch.testing.assert_close(fed.residual, {name: error.T @ (counted * x)}, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fed.hessian, x.T @ (counted * x), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(fed.fourth, counted.squeeze(1) @ x**4, rtol=1e-4, atol=1e-5)
        assert fed.residual_of(f"model.layers.3.{name}") is fed.residual[name]
        assert fed.residual_of("model.layers.3.other") is None


@torch.no_grad()
def test_without_a_reference_there_is_nothing_to_correct() -> None:
    found = observe([Replica(Block(), Call((0.5,), {}))], ["left"], [torch.randn(1, 5, 8)])
    assert found.reference is None
    assert not found.statistics[0].residual
    assert [fed.cross for fed in found.statistics] == [None]
