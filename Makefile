# Everything a fresh machine needs besides this file: Python >= 3.11 with venv, a C++ compiler, make.
# Choose another interpreter with `make demo PYTHON=python3.12`, another place for the environment with `VENV=...`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
INTEGRATION := .venv-integration
LABEL_STUDIO := .venv-label-studio
MOTO := .venv-moto
SEED ?= 0
# Tests on Ray that wait for the tests without it, so that both cores have work to the end.
LATER := tests/cluster/test_jobs.py tests/cluster/test_train.py
PYTEST = $(BIN)/python -m pytest -q --cov=xmr_ray --cov-report=

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-integration faults fast check lint format clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(DEV_STAMP)  ## environment with the tools of development, in .venv

demo: $(RUN_STAMP)  ## install, then run configs/quickstart.yaml on the embedded corpus
	$(BIN)/xmr-ray run -c configs/quickstart.yaml

test: $(DEV_STAMP)  ## install, then all tests, with at least 90 % coverage; most of those on Ray run beside the others
	@COVERAGE_FILE=.coverage.ray $(PYTEST) -m "ray and not integration" $(LATER:%=--ignore=%) > .ray-tests.log 2>&1 & on_ray=$$!; \
	trap 'kill $$on_ray; wait $$on_ray; exit 130' INT TERM; \
	COVERAGE_FILE=.coverage.rest $(PYTEST) -m "not ray and not integration"; rest=$$?; \
	COVERAGE_FILE=.coverage.later $(PYTEST) -m "ray and not integration" $(LATER); later=$$?; \
	wait $$on_ray; on_ray=$$?; cat .ray-tests.log; \
	$(BIN)/python -m coverage combine --quiet .coverage.ray .coverage.rest .coverage.later; \
	$(BIN)/python -m coverage report --skip-covered --fail-under=90 && [ $$rest -eq 0 ] && [ $$later -eq 0 ] && [ $$on_ray -eq 0 ]

test-integration: $(INTEGRATION)/.installed $(LABEL_STUDIO)/.installed $(MOTO)/.installed  ## install a browser, servers and weights, then the tests that need them
	XMR_LABEL_STUDIO_PYTHON=$(CURDIR)/$(LABEL_STUDIO)/bin/python XMR_MOTO_PYTHON=$(CURDIR)/$(MOTO)/bin/python $(INTEGRATION)/bin/python -m pytest -m integration

faults: $(DEV_STAMP)  ## the long gear of the fault runner, from where it stopped: 1,000 schedules of the loop, 100 of arms that share people, 20 on real clusters
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/faults/loop_faults.py --schedules 1000 --seed $(SEED) --progress .faults/loop.jsonl
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/faults/sharing_faults.py --schedules 100 --seed $(SEED) --progress .faults/sharing.jsonl
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python tests/faults/cluster_faults.py --schedules 20 --seed $(SEED) --progress .faults/cluster.jsonl

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
	rm -rf $(VENV) $(INTEGRATION) $(LABEL_STUDIO) $(MOTO) build dist *.egg-info .coverage .coverage.* .ray-tests.log .faults htmlcov .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find xmr_ray tests jobs benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "$(PYTHON) is $$($(PYTHON) --version 2>&1); needed is Python >= 3.11: make PYTHON=python3.11 ..."; exit 1; }
	@command -v c++ >/dev/null || command -v g++ >/dev/null || command -v clang++ >/dev/null \
		|| { echo "no C++ compiler found; hnswlib is compiled from source, so install g++ or clang first"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(INTEGRATION)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing weights and what drives a browser into $(INTEGRATION) (takes minutes)"
	$(PYTHON) -m venv $(INTEGRATION)
	$(INTEGRATION)/bin/python -m pip --disable-pip-version-check --quiet install -c constraints.txt -e '.[dev,offline,integration]'
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get install -y --quiet chromium chromium-driver; } \
		|| echo "no chromium found: the tests of the page in a browser will be skipped"
	@touch $@

$(LABEL_STUDIO)/.installed:
	@echo "installing Label Studio into $(LABEL_STUDIO) (1 GB, takes minutes)"
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/python -m pip --disable-pip-version-check --quiet install label-studio==1.23.2
	@touch $@

$(MOTO)/.installed:
	@echo "installing moto, a server that speaks S3, into $(MOTO)"
	$(PYTHON) -m venv $(MOTO)
	$(MOTO)/bin/python -m pip --disable-pip-version-check --quiet install 'moto[server]==5.2.5'
	@touch $@

$(RUN_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing xmr-ray into $(VENV) (the first time takes minutes)"
	$(PIP) -e .
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt | $(BIN)/python
	@echo "installing xmr-ray and its tools into $(VENV) (the first time takes minutes)"
	$(PIP) -e '.[dev]'
	@touch $(RUN_STAMP) $@
