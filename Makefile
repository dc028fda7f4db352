# Two commands: `make study` (the demonstration study) and `make test`.
.PHONY: study test environment check

study: environment
	.venv/bin/whichbits study demo

test: environment
	.venv/bin/python -m pytest

check: environment
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

environment:
	@tools/setup
