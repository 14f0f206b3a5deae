# soc-toolkit: `make setup` makes .venv from the lock file, `make test` runs the whole suite.
PYTHON ?= python3
SOC := .venv/bin/soc

.PHONY: setup test lint

setup: .venv/.done

.venv/.done: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --require-hashes -r requirements.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable . || .venv/bin/pip install --quiet --no-deps --editable .
	touch .venv/.done

lint: setup
	.venv/bin/ruff check soc tests
	.venv/bin/mypy soc
	.venv/bin/lint-imports

test: lint
	.venv/bin/pytest -q --durations=10
