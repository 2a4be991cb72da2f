# Everything a fresh machine needs besides this file: Python >= 3.11 with venv, a C++ compiler, make.
# Choose another interpreter with `make demo PYTHON=python3.12`, another place for the environment with `VENV=...`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
COVERAGE := --cov=xmr_ray --cov-report=term:skip-covered --cov-fail-under=90

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-integration fast check lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(DEV_STAMP)  ## environment with the tools of development, in .venv

demo: $(RUN_STAMP)  ## install, then run configs/quickstart.yaml on the embedded corpus
	$(BIN)/xmr-ray run -c configs/quickstart.yaml

test: $(DEV_STAMP)  ## install, then all tests, with at least 90 % coverage
	$(BIN)/python -m pytest -m "not integration" $(COVERAGE)

fast: $(DEV_STAMP)  ## the tests that start no other processes
	$(BIN)/python -m pytest -q -n 2 -m "not ray and not slow and not integration"

check: lint  ## lint, then the floors of the house
	$(BIN)/python -m pytest -q tests/test_architecture.py

lint: $(DEV_STAMP)  ## ruff and mypy, changing nothing
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(DEV_STAMP)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and all caches; runs/ and corpora/ stay
	rm -rf $(VENV) build dist *.egg-info .coverage htmlcov .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find xmr_ray tests jobs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); needed is Python >= 3.11: make PYTHON=python3.11 ..."; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null \
		|| { echo "no C++ compiler found; hnswlib is compiled from source, so install g++ or clang first"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing xmr-ray into $(VENV) (the first time takes minutes)"
	$(PIP) -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing xmr-ray and its tools into $(VENV) (the first time takes minutes)"
	$(PIP) -e '.[dev]'
	@touch $(RUN_STAMP) $@
