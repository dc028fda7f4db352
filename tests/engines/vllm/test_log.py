from __future__ import annotations

from whichbits.engines.vllm.log import exception, kernels, root_cause

FAILED_START = """\
(APIServer pid=1) INFO 11-22 23:23:01 [entry.py:1] starting
(EngineCore pid=2) ERROR 11-22 23:23:19 [core.py:1510] EngineCore failed to start.
(EngineCore pid=2) ERROR 11-22 23:23:19 [core.py:1510] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-22 23:23:19 [core.py:1510]   File "core.py", line 1, in <module>
(EngineCore pid=2) ERROR 11-22 23:23:19 [core.py:1510]     raise ValueError("x")
(EngineCore pid=2) ERROR 11-22 23:23:19 [core.py:1510] \x1b[31mNotImplementedError: No scheme was found\x1b[0m
Process EngineCore:
Traceback (most recent call last):
NotImplementedError: No scheme was found
(APIServer pid=1) Traceback (most recent call last):
(APIServer pid=1) RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}
"""


def test_the_first_process_to_fail_names_the_cause() -> None:
    assert root_cause(FAILED_START) == "NotImplementedError: No scheme was found"


NO_KERNEL = """\
(APIServer pid=1) WARNING 11-29 00:58:10 [system_utils.py:255] limits can cause errors like `OSError: [Errno 24] Too many`.
(EngineCore pid=2) ERROR 11-29 00:58:40 [core.py:1512] Traceback (most recent call last):
(EngineCore pid=2) ERROR 11-29 00:58:40 [core.py:1512]     raise AttributeError(
(EngineCore pid=2) ERROR 11-29 00:58:40 [core.py:1512] AttributeError: '_C' object has no attribute 'cpu_gemm_wna16'
(APIServer pid=1) ERROR 11-29 00:58:40 [async_llm.py:906] vllm.EngineDeadError: EngineCore encountered an issue.
INFO:     127.0.0.1:42114 - "POST /v1/completions HTTP/1.1" 500 Internal Server Error
"""


def test_a_request_that_broke_the_engine_has_its_exception_for_a_cause() -> None:
    assert exception(NO_KERNEL) == "AttributeError: '_C' object has no attribute 'cpu_gemm_wna16'"
    assert exception(NO_KERNEL.splitlines()[-1]) is None
    assert exception("EngineDeadError: EngineCore encountered an issue.\n") is None


def test_wrong_arguments() -> None:
    text = "usage: api_server.py [options]\napi_server.py: error: unrecognized arguments: --no-such-option\n"
    assert root_cause(text) == "unrecognized arguments: --no-such-option"


def test_chained_validation_error() -> None:
    text = "pydantic_core.ValidationError: 1 validation error for ModelConfig\n  Value error, max_model_len is too long\n"
    expected = "pydantic_core.ValidationError: 1 validation error for ModelConfig Value error, max_model_len is too long"
    assert root_cause(text) == expected


def test_only_a_consequence_is_better_than_nothing() -> None:
    text = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue.\nINFO:     Shutting down\n"
    assert root_cause(text).startswith("vllm.v1.engine.exceptions.EngineDeadError")


def test_no_exception_and_no_text() -> None:
    assert root_cause("one\ntwo\n\n") == "two"
    assert root_cause("") == "the engine's log is empty"


def test_length_is_bounded_and_one_line() -> None:
    cause = root_cause("ValueError: " + "x" * 10_000)
    assert len(cause) == 400
    assert "\n" not in cause


def test_kernels() -> None:
    text = (
        "(Worker pid=1) INFO 11-22 [a.py:1] Selected CPUInt8ScaledMMLinearKernel for CompressedTensorsW8A8Int8\n"
        "INFO Using CPUWNA16LinearKernel for CompressedTensorsWNA16\n"
        "INFO Using CPUWNA16LinearKernel for mixed-precision linear\n"
        "INFO Selected CutlassFp8BlockScaledMMKernel for X\n"
        "INFO Using LBHNC KV cache layout.\n"
    )
    assert kernels(text) == ["CPUInt8ScaledMM", "CPUWNA16", "CutlassFp8BlockScaledMM"]
