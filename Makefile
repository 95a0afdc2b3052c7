# make setup | quickstart | test | check | base-model | clean
PYTHON ?= python3
PYTEST_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test check layers format base-model clean

help:
	@echo "make setup       .venv with everything, from constraints.txt"
	@echo "make quickstart  the main job: train the shipped small model and show the gain"
	@echo "make test        all tests        (PYTEST_ARGS='-k sandbox')"
	@echo "make check       ruff, pyright, layers"
	@echo "make format      ruff format and safe fixes"
	@echo "make base-model  build the shipped models again (about 2.5 CPU hours)"

setup: $(STAMP)
	@echo "ready: $(BIN)/air"

# The stamp makes this quick when nothing changed; a broken installation never gets one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; run: make setup PYTHON=/path/to/python3.11" >&2; exit 4; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,data,dev]'
	@touch $@

quickstart: $(STAMP)
	$(BIN)/air quickstart

base-model: $(STAMP)
	$(BIN)/air base-model

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_layers.py

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
