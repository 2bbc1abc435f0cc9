PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: elsewhere setup lint check format stub demo examples docs docs-pages names test lowest fuzz
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

# The types of the package's lazy names, and of pipeline() for every task.
stub: setup
	$(BIN)/python -m tools.write_stub

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -n auto tests/unit tests/attacks

# Every file of examples/, run by a test; those whose models are not in ONNXPIPE_TEST_MODELS are skipped and named.
examples: setup
	$(BIN)/pytest -rs tests/documentation/test_examples.py

# The generated pages: tasks and command line.
docs-pages: setup
	$(BIN)/python -m tools.write_docs

# The documentation as HTML, in build/docs; a warning is an error. Pages that are in its cache do not warn again, and its own
# --clean would empty .cache, where models and environments of tests are kept too.
docs: $(VENV)/.docs
	$(BIN)/python -m tools.write_docs --check
	mkdir -p .cache
	find .cache -maxdepth 1 \( -name '[0-9]*' -o -name '*.json' -o -name objects.inv \) -exec rm -rf {} +
	$(BIN)/zensical build --strict

$(VENV)/.docs: setup
	$(BIN)/pip install -q -e ".[docs]"
	touch $@

# Tests must have the same names in every process: they are collected twice and compared.
names: setup
	$(BIN)/python tests/check_names.py

# The main job on real input: a pretrained model from PyPI, exported, certified, answered without PyTorch.
demo: setup
	$(BIN)/python -m examples.demo

# All tests. ONNXPIPE_TEST_MODELS and ONNXPIPE_TEST_DATA (folders of real models and labelled data) switch on tests/real.
test: setup
	$(BIN)/pytest -n auto --dist loadgroup tests

# The packages of tests/elsewhere, which run bundles in Node and on a page; its tests are skipped without them. No install
# scripts: onnxruntime-node's would fetch libraries for GPUs.
elsewhere:
	cd tests/elsewhere && npm ci --ignore-scripts --no-audit --no-fund

# Mutated images, recordings, videos, folders, graphs, tables, grammars and templates; what is found is saved under tests/fuzz/corpus.
SECONDS ?= 600
fuzz: setup
	PYTHONPATH=tests $(BIN)/python -m fuzz.run --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# With the lowest version of every package that pyproject.toml allows: attacks and unit tests without torch, and exports of a BERT, a
# llama (in all precisions), a T5 and a ViT with it. The environments lie in .cache, by their list of versions.
lowest: setup
	tools/lowest.sh runtime -n auto tests/attacks tests/unit
	tools/lowest.sh export -n auto $(addprefix tests/unit/export/, test_convert.py test_balance.py \
		'test_seq2seq.py::test_both_graphs_answer_as_the_original[t5]' test_vision.py::test_a_vision_bundle_has_a_processor_and_no_tokenizer)
