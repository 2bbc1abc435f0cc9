PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup lint check format demo names test
setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q --upgrade pip
	$(BIN)/pip install -q "torch==2.13.0"
	$(BIN)/pip install -q -e ".[cpu,export,dev]"
	touch $@

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -n auto tests/unit tests/attacks

# Tests must have the same names in every process: they are collected twice and compared.
names: setup
	$(BIN)/python tests/check_names.py

# The main job on real input: a pretrained model from PyPI, exported, certified, answered without PyTorch.
demo: setup
	$(BIN)/python -m perf.demo

# All tests. ONNXPIPE_TEST_MODELS and ONNXPIPE_TEST_DATA (folders of real models and labelled data) switch on tests/real.
test: setup
	$(BIN)/pytest -n auto --dist loadgroup tests
