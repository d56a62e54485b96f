# Two commands on a fresh machine with Python 3.11 or newer:
#   make demo    the whole path on the miniature Janus that is shipped
#   make test    lint, types and tests
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test lint types unit clean

demo: $(VENV)/.export
	$(BIN)/janus-edge demo

test: lint types unit

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/.dev
	$(BIN)/mypy

unit: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow"

# torch goes first and by its exact version, so that no later requirement chooses another build; where
# the package index has a CPU build (200 MB instead of gigabytes with CUDA), name it: make TORCH=...
$(VENV)/.export: pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(INSTALL) $(TORCH)
	$(INSTALL) --editable '.[cpu,export,eval]'
	touch $@

$(VENV)/.dev: $(VENV)/.export
	$(INSTALL) --editable '.[cpu,export,eval,dev]'
	touch $@

clean:
	rm -rf $(VENV) janus-demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
