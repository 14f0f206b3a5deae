# soc-toolkit: `make run` shows everything on a simulated province, `make test` runs the whole suite, from nothing.
PYTHON ?= python3
SOC := .venv/bin/soc

.PHONY: setup run test lint bench fuzz docs

# Bytecode beside the source, as an installed program has it, though the environment forbids Python to write any itself;
# a file that is edited later is seen by its time.
setup: .venv/.done .venv/.kernel
	@.venv/bin/python -m compileall -q --invalidation-mode timestamp soc

.venv/.done: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --require-hashes -r requirements.lock
	.venv/bin/pip install --quiet --no-deps --no-build-isolation --editable .
	touch .venv/.done

# What is compiled is built where cargo is; elsewhere the pure code does the same, slower.
.venv/.kernel: .venv/.done native/Cargo.toml native/Cargo.lock native/pyproject.toml $(wildcard native/src/*.rs)
	@if command -v cargo >/dev/null; then \
	  PATH=$(CURDIR)/.venv/bin:$$PATH .venv/bin/pip install --quiet --no-deps --no-build-isolation --force-reinstall ./native && touch $@ \
	    || echo "the compiled kernel could not be built: pure Python is used"; \
	else echo "no cargo: pure Python is used instead of the compiled kernel"; fi

run: setup
	@$(SOC) up --simulate

lint: setup
	.venv/bin/ruff check soc tests benchmarks
	.venv/bin/ruff format --check soc tests benchmarks
	.venv/bin/mypy soc
	.venv/bin/lint-imports
	@if command -v cargo >/dev/null; then cd native && cargo fmt --check && cargo clippy --quiet --all-targets -- -D warnings; fi

test: lint
	@if command -v cargo >/dev/null; then cd native && cargo test --quiet; fi
	.venv/bin/pytest -q --durations=10

bench: setup
	.venv/bin/python -m benchmarks

FUZZ_EXAMPLES ?= 10000
FUZZ_SECONDS ?= 120
FUZZED := tests/fuzz tests/parsers tests/collectors tests/content tests/model tests/store/queue tests/store/query

fuzz: setup
	FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) .venv/bin/pytest -q -m hypothesis --hypothesis-profile=fuzz --timeout 0 $(FUZZED)
	.venv/bin/pip install --quiet --require-hashes -r tests/fuzz/requirements.txt
	.venv/bin/python -m tests.fuzz.covering $(FUZZ_SECONDS)

docs: setup
	.venv/bin/pytest -q tests/test_docs.py
