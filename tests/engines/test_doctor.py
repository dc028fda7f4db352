from __future__ import annotations

from pathlib import Path

import pytest

from whichbits.engines.doctor import Check, doctor


def test_every_finding_that_is_not_ok_has_a_remedy(tmp_path: Path) -> None:
    checks = doctor(tmp_path)
    assert {"python", "torch", "vllm", "processor", "gpu", "memory", "disk", "sandbox: namespaces", "sandbox: Landlock"} <= {
        check.name for check in checks
    }
    assert all(check.detail and (check.status == "ok" or check.remedy) for check in checks)


def test_a_wrong_engine_command_fails(tmp_path: Path) -> None:
    (vllm,) = [check for check in doctor(tmp_path, command="no-such-program") if check.name == "vllm"]
    assert vllm.status == "fail"
    assert "no-such-program" in vllm.detail
    assert "WHICHBITS_VLLM" in vllm.remedy


def test_a_cache_that_cannot_be_written_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def cache() -> Check:
        return next(check for check in doctor(tmp_path) if check.name == "cache")

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "file" / "cache"))
    assert cache().status == "fail" and "WHICHBITS_CACHE" in cache().remedy
    monkeypatch.setenv("WHICHBITS_CACHE", str(tmp_path / "cache"))
    assert (cache().status, cache().detail) == ("ok", str(tmp_path / "cache"))
