# `make study` (the demonstration study), `make test` and `make check`; `make test-fast` while working.
.PHONY: study test test-fast test-nightly kernels docs environment check

study: environment
	.venv/bin/whichbits study demo

# Three workers of one thread each: most tests wait for processes that they start. Byte code is kept even where the caller's
# environment says otherwise: each of those processes would compile the package anew.
PYTEST = env -u PYTHONDONTWRITEBYTECODE OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: environment
	$(PYTEST) -m "not nightly"

# No vLLM server, no embedded model, nothing slow.
test-fast: environment
	$(PYTEST) -m "not server and not model and not slow and not nightly"

# What `make test` leaves out: more models and more data for what it holds.
test-nightly: environment
	$(PYTEST) -m nightly

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
