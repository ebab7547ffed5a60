# make demo   set everything up and take a call on the starter versions
# make test   every test;  make lint   style, types, import contract
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes share the cores; operator libraries would each take them all.
export OMP_NUM_THREADS ?= 1

.PHONY: demo test lint setup setup-dev system system-dev starters clean

# Debian packages: the synthesisers, and the compiler that builds Triton's backend.
system:
	@bash deploy/system-packages.sh

# The tests start a PostgreSQL of their own from Debian's package, and touch no other; pages are opened in its Chromium.
system-dev:
	@bash deploy/system-packages.sh postgresql chromium

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# Serving alone: no torch.
$(VENV)/.serving: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --progress-bar off -q -e .
	touch $@

# Training and tests. torch by name first: its CPU build, before anything else asks for another.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --progress-bar off -q torch==2.13.0
	$(BIN)/pip install --progress-bar off -q -e '.[train,dev]'
	touch $@ $(VENV)/.serving

setup: system $(VENV)/.serving
setup-dev: system-dev $(VENV)/.dev

demo: setup
	$(BIN)/parley demo

lint: setup-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Files side by side, each in one process; those with slow tests first (tests/conftest.py).
test: setup-dev
	nice -n 5 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

# Train the starter versions again; docs/starters.md says what comes out. RECORDINGS=manifest.jsonl adds real speech,
# NOISE=noise.flac OTHERS=others.txt with it the later STTs (triton_repo/reproduce.sh).
starters: setup-dev
	bash triton_repo/reproduce.sh $(RECORDINGS) $(NOISE) $(OTHERS)

clean:
	rm -rf var runs datasets .pytest_cache .mypy_cache .ruff_cache
