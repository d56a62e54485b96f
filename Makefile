# Two commands on a fresh machine with Python 3.11 or newer:
#   make demo    the whole path on the miniature Janus that is shipped
#   make test    lint, types and tests
# and on a machine with an NVIDIA GPU (without a network, give the folder that gpu-wheels made; docs/gpu-check.md):
#   make gpu-check [WHEELS=folder] [GPU_ARGS="--size 1b"]
PYTHON ?= python3
VENV ?= .venv
TORCH ?= torch==2.13.0
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# for gpu-check: the extras whose wheels are prepared, and the other machine's Python if another
GPU_EXTRAS ?= cpu,engines,rtx
GPU_PYTHON ?=
GPU_MACHINE ?= x86_64
GPU_VENV ?= build/gpu-check
WHEELS ?=

.PHONY: demo test lint types unit gpu-check gpu-wheels clean

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

ifeq ($(WHEELS),)
gpu-check: $(VENV)/.dev
	$(BIN)/python -m benchmarks.gpu_check $(GPU_ARGS)
else
gpu-check: $(GPU_VENV)/.ready
	$(GPU_VENV)/bin/python -m benchmarks.gpu_check --prepared $(WHEELS) $(GPU_ARGS)
endif

$(GPU_VENV)/.ready: $(WHEELS)/requirements.txt
	$(PYTHON) -m benchmarks.gpu_check.environment $(GPU_VENV) $(WHEELS)
	touch $@

gpu-wheels: $(VENV)/.export
	test -n "$(WHEELS)" || { echo "name a folder: make gpu-wheels WHEELS=folder"; exit 2; }
	$(BIN)/python -m benchmarks.gpu_check.prepare $(WHEELS) --extras $(GPU_EXTRAS) \
		$(if $(GPU_PYTHON),--python-version $(GPU_PYTHON) --machine $(GPU_MACHINE))

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
