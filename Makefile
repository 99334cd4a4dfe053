# Two commands on a fresh Debian with Python 3.11-3.13, make and git: `make demo` and `make test`.
PYTHON ?= $(or $(shell command -v python3.11 || command -v python3.12 || command -v python3.13),python3)
VENV   ?= .venv
comma := ,
# What `make demo` installs; on a machine with a GPU: make demo EXTRAS=gpu,ops UV_FLAGS=--torch-backend=auto
# The environment keeps to its first choice, as two packages of one module cannot be put on top of each other.
INSTALLED := $(shell cat $(VENV)/.extras 2>/dev/null)
EXTRAS ?= $(or $(INSTALLED),cpu$(comma)ops)
ifneq ($(filter-out $(EXTRAS),$(INSTALLED)),)
$(error $(VENV) was made with EXTRAS=$(INSTALLED): type `make clean` first)
endif
# What `make test` and `make lint` need beside it.
TEST_EXTRAS ?= dev,render,formats

# pip's find-links (a folder of wheels on this machine, or nothing) handed on to uv, which does not read pip's config.
export UV_FIND_LINKS ?= $(or $(PIP_FIND_LINKS),$(shell $(PYTHON) -m pip config get global.find-links 2>/dev/null))
export UV_SYSTEM_CERTS ?= 1
export UV_PYTHON_DOWNLOADS ?= never
# Nothing phones home.
export DO_NOT_TRACK ?= 1
export MLFLOW_DISABLE_TELEMETRY ?= true
# Each stage is a process: what Python compiles is kept, whatever the shell says.
export PYTHONDONTWRITEBYTECODE :=
# `dvc` and the `python` of its stages are those of the environment.
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)

UV := $(VENV)/bin/python -m uv pip
INSTALL = $(UV) install -q --python $(VENV)/bin/python $(UV_FLAGS) -c constraints.txt

.DEFAULT_GOAL := help

.PHONY: help
help: ## list these targets
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

.PHONY: demo
demo: setup ## train on the embedded default, print the result table and where the report lies
	dvc pull --quiet data.dvc models.dvc
	dvc repro
	@itkm result

.PHONY: test slow
# Tests run side by side: a thread that waits leaves its core to others. A training alone would lose a fifth by it.
test slow: export OMP_WAIT_POLICY ?= PASSIVE
test: $(VENV)/.test ## run all tests but the slow ones
	dvc pull --quiet models.dvc
	python -m pytest -n auto --dist loadfile -m "not slow"

slow: $(VENV)/.test ## run the slow tests: servers, kills at random moments, runs from end to end
	dvc pull --quiet models.dvc
	python -m pytest -n auto --dist loadfile -m slow

.PHONY: lint
lint: $(VENV)/.test ## ruff and mypy strict
	ruff format --check .
	ruff check .
	mypy

.PHONY: bench
bench: $(VENV)/.test ## measure speed and memory of the stages' hot paths
	python benchmarks/bench.py
	python benchmarks/throughput.py
	python benchmarks/feeds.py

.PHONY: up down deploy
up: setup ## start Prefect's server and a worker, and MLflow, on this machine alone
	@python -m flows.services up
down: setup ## stop them, with all that they started
	@python -m flows.services down
deploy: setup ## register the flows and their schedules with them
	@python -m flows.services deploy

.PHONY: setup
setup: $(VENV)/.setup ## only the environment, with `itkm` in $(VENV)/bin

.PHONY: clean
clean: ## remove the environment and the tools' caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/.setup: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
	$(INSTALL) -e '.[$(EXTRAS)]'
	@echo '$(EXTRAS)' > $(VENV)/.extras
	@touch $@

$(VENV)/.test: $(VENV)/.setup docker/requirements.txt
	$(INSTALL) -e '.[$(EXTRAS),$(TEST_EXTRAS)]' -r docker/requirements.txt
	@touch $@
