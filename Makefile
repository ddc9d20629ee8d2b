# Each goal does its own set-up: `make demo` needs only Python 3.11+, make and git.
#   make demo        set up and open the studio        make test    set up and run the unit tests
#   make check       style, types, layers              make setup   everything for development
#   make catalogue   render the training pack and the gallery
# PIP_ARGS goes to every pip install (an index, a cache folder); ARGS to the program or to pytest.

SHELL := /bin/sh
.NOTPARALLEL:
.DEFAULT_GOAL := help

VENV ?= .venv
PIP_ARGS ?=
ARGS ?=
BIN := $(VENV)/bin
PINS := pyproject.toml constraints.txt
RUN_STAMP := $(VENV)/.ready-to-run
DEV_STAMP := $(VENV)/.ready-to-develop
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --no-input $(PIP_ARGS) -c constraints.txt

# Unit tests spread over the cores, long files first (tests/long_files.py); each worker keeps torch
# to one thread (tests/conftest.py).
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder

.PHONY: help setup demo test check style types layers catalogue clean

help:
	@sed -n 's/^#   //p' Makefile

# An environment that another tool made is used as it is; half of one is made again.
ENSURE_VENV = @$(BIN)/python -m pip --version >/dev/null 2>&1 || sh .ci/venv $(VENV)

$(RUN_STAMP): $(PINS)
	$(ENSURE_VENV)
	$(INSTALL) --quiet -e .
	@touch $@

$(DEV_STAMP): $(PINS)
	$(ENSURE_VENV)
	$(INSTALL) --quiet -e ".[dev,train,catalogue]"
	@touch $@ $(RUN_STAMP)

setup: $(DEV_STAMP)

demo: $(RUN_STAMP)
	$(BIN)/duet demo $(ARGS)

test: $(DEV_STAMP)
	$(PYTEST) $(ARGS)

check: style types layers

style: $(DEV_STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(DEV_STAMP)
	$(BIN)/pyright

layers: $(DEV_STAMP)
	$(BIN)/lint-imports

catalogue: $(DEV_STAMP)
	$(BIN)/python -m assets.catalogue $(ARGS)

clean:
	rm -rf $(VENV) .cache build dist .pytest_cache .ruff_cache .import_linter_cache
