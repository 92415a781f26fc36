# `make help` lists the targets. PYTHON chooses the interpreter: make test PYTHON=python3.12
VENV := .venv
BIN := $(VENV)/bin
REQUIREMENTS := requirements/tested.txt
# a change of one of these files updates the environment
INPUTS := $(REQUIREMENTS) pyproject.toml setup.py
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadfile
# one thread per process: pytest, the demo and the study run several processes in parallel
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help env demo study test docs quick-test gpu-test fault-test clean FORCE

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 14

env: $(VENV)/.installed ## make .venv with the tested stack (requirements/tested.txt)

# PYTHON may differ from the interpreter that .venv was made with
$(VENV)/.installed: $(INPUTS) $(if $(PYTHON),FORCE)
	@requirements/make_venv.sh $(VENV) $(REQUIREMENTS) $(PYTHON)
	@touch $@

FORCE:

demo: env ## a first look: distil a classifier and a segmenter (3 minutes, no download of data)
	$(BIN)/python tools/demo.py $(DEMO_ARGS)

study: env ## the same with 3 seeds, more methods and controls
	$(BIN)/python tools/study.py $(STUDY_ARGS)

test: env ## lint, types and the whole test suite
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest $(PYTEST_ARGS)

docs: env ## the documentation, into docs/_build/html; warnings and broken links are errors
	$(BIN)/python -m docs.generate
	$(BIN)/python -m sphinx -nW --keep-going -q -b html docs docs/_build/html

quick-test: env ## the tests that are not marked slow (less than 3 minutes)
	$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

# With PYTHON=... the tests run in that interpreter, which brings its own stack.
GPU_PYTHON := $(if $(PYTHON),$(PYTHON),$(BIN)/python)
gpu-test: $(if $(PYTHON),,env) ## the tests that need a CUDA device
	@$(GPU_PYTHON) -c 'import sys, torch; sys.exit(0 if torch.cuda.is_available() else \
	    "torch %s sees no CUDA device: the GPU tests were not run." % torch.__version__)'
	$(GPU_PYTHON) -m pytest -m gpu

fault-test: env ## kill and resume runs at every stage, try bad values, watch memory (an hour or more)
	$(BIN)/python -m pytest -m faults

clean: ## remove .venv, caches and builds; data and work_dirs stay
	rm -rf $(VENV) build dist *.egg-info mmickd/.mim .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
