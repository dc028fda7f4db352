from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from whichbits.quantization.model.decoder import Call  # noqa: E402
from whichbits.quantization.model.replicas import filled, in_turn, run  # noqa: E402

CPU = torch.device("cpu")
META = torch.device("meta")


class Scaled(torch.nn.Module):
    """A linear layer with a buffer, called with a factor and a nested bias, that gives a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 4, bias=False, device=META)
        self.register_buffer("shift", torch.ones(4), persistent=False)

    def forward(self, hidden: torch.Tensor, factor: float, *, beside: tuple[torch.Tensor]) -> tuple[torch.Tensor, None]:
        return factor * self.linear(hidden) + self.shift + beside[0], None


def test_each_device_has_its_own_layer_and_call() -> None:
    weight = torch.randn(4, 4)
    call = Call((2.0,), {"beside": (torch.zeros(4),)})
    first, second = filled(Scaled(), {"linear.weight": weight}, call, ["cpu", "meta"])
    for replica, device in ((first, CPU), (second, META)):
        assert {replica.layer.linear.weight.device, replica.layer.shift.device} == {device}
        assert replica.call.kwargs["beside"][0].device == device
        assert replica.call.args == (2.0,)
    assert first.layer.linear.weight.data_ptr() == weight.data_ptr()
    batches = [torch.randn(1, 3, 4) for _ in range(3)]
    assert [batch.device for batch in in_turn(batches, ["cpu", "meta"])] == [CPU, META, CPU]
    assert [output.device for output in run([first, second], in_turn(batches, ["cpu", "meta"]))] == [CPU, META, CPU]


def test_a_batch_gets_the_same_from_every_replica() -> None:
    weight = torch.randn(4, 4)
    replicas = filled(Scaled(), {"linear.weight": weight}, Call((2.0,), {"beside": (torch.zeros(4),)}), ["cpu"] * 3)
    assert len({id(replica.layer) for replica in replicas}) == 3
    batches = [torch.randn(1, 3, 4) for _ in range(4)]
    for output, batch in zip(run(replicas, batches), batches, strict=True):
        torch.testing.assert_close(output, 2 * batch @ weight.T + 1)
