# `make study` (the demonstration study), `make test` and `make check`; `make test-fast` while working.
.PHONY: study test test-fast kernels docs environment check

study: environment
	.venv/bin/whichbits study demo

# Two workers of one thread each: most tests wait for processes that they start.
test: environment
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

# No vLLM server, no embedded model, nothing slow.
test-fast: environment
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not server and not model and not slow"

# The GPU kernels in Triton's interpreter; Triton stays out of the environment, where vLLM's CPU build would find it.
kernels: environment
	.venv/bin/uv pip install --quiet --python .venv/bin/python --target .venv/triton --no-deps triton==3.5.1
	PYTHONPATH=.venv/triton .venv/bin/python -m pytest tests/quantization/rounding/test_gptq_triton.py

# The documentation's site, in site/.
docs: environment
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --quiet

check: environment
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

environment:
	@tools/setup
