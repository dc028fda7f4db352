from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from whichbits.core.errors import UserError  # noqa: E402
from whichbits.quantization.model.devices import computing_devices  # noqa: E402


@pytest.mark.parametrize(("present", "default"), [(0, "cpu"), (2, "cuda:0")])
def test_cuda_is_the_default_where_there_is_one(monkeypatch: pytest.MonkeyPatch, present: int, default: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    assert computing_devices(None) == (default,)
    assert computing_devices("cpu") == ("cpu",)
    if present:
        assert computing_devices("cuda") == ("cuda:0",)
        assert computing_devices("cuda:1,cuda:0") == computing_devices("cuda:1, cuda") == ("cuda:1", "cuda:0")
    for names in ("cuda:2", "tpu", "cuda:first", "", "cuda:0,", "cpu,cpu", "cpu,cuda:0", "cuda,cuda:0"):
        with pytest.raises(UserError, match="device"):
            computing_devices(names)
