from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from whichbits.errors import UserError  # noqa: E402
from whichbits.quantize.device import computing_device  # noqa: E402


@pytest.mark.parametrize(("present", "default"), [(0, "cpu"), (2, "cuda")])
def test_cuda_is_the_default_where_there_is_one(monkeypatch: pytest.MonkeyPatch, present: int, default: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: present > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: present)
    assert computing_device(None) == default
    assert computing_device("cpu") == "cpu"
    if present:
        assert computing_device("cuda:1") == "cuda:1"
    for name in ("cuda:2", "tpu", "cuda:first"):
        with pytest.raises(UserError, match="device"):
            computing_device(name)
