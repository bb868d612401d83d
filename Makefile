# `make demo` and `make test` need Python 3.11 or newer, make and git; everything else they install into .venv.
# Installing is skipped until pyproject.toml or constraints.txt changes.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install
# Exactly this one, and first: all the rest was tested with it and is chosen to fit it.
TORCH := torch==2.13.0
WORKERS ?= 2
PYTEST_ARGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: $(VENV)/.core ## the whole line on the sample, offline: pictures in, twenty searches out (./demo)
	@$(BIN)/embeddings demo

.PHONY: test
test: lint ## lint, then every test
	$(BIN)/python -m pytest -n $(WORKERS) -m "not torture" $(PYTEST_ARGS)

.PHONY: lint
lint: $(VENV)/.test ## style, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: ui
ui: $(VENV)/.ui ## Dagster's UI on 127.0.0.1:3000, with the daemon that runs sensor and schedule
	@settings="$${EMBEDDINGS_SETTINGS:-embeddings.yaml}"; \
	if [ -z "$${EMBEDDINGS_SETTINGS:-}" ] && [ ! -f "$$settings" ]; then settings=demo/embeddings.yaml; fi; \
	if [ ! -f "$$settings" ]; then \
	  echo "no $$settings here: run 'make demo' or '$(BIN)/embeddings init' first" >&2; exit 1; \
	fi; \
	EMBEDDINGS_SETTINGS="$$(cd "$$(dirname "$$settings")" && pwd)/$$(basename "$$settings")"; \
	export EMBEDDINGS_SETTINGS DAGSTER_HOME="$${DAGSTER_HOME:-$$(dirname "$$EMBEDDINGS_SETTINGS")/.dagster}"; \
	mkdir -p "$$DAGSTER_HOME"; \
	$(BIN)/dagster instance info >/dev/null; : makes the tables of a fresh home, for which two processes would race; \
	echo "settings $$EMBEDDINGS_SETTINGS, history $$DAGSTER_HOME"; \
	exec $(BIN)/dagster dev -h 127.0.0.1 -p "$${PORT:-3000}" -m embeddings_dagster.definitions

.PHONY: bench
bench: $(VENV)/.bench ## the measurements in benchmarks/
	@for script in benchmarks/bench_*.py; do echo "== $$script"; $(BIN)/python "$$script"; done

.PHONY: torture
torture: $(VENV)/.test ## kills, races and damage at full size (TORTURE_SUMMARY=FILE: its figures)
	$(BIN)/python -m pytest -n $(WORKERS) -m torture $(PYTEST_ARGS)

.PHONY: clean
clean: ## what the demo and the tools left; not .venv, not your data
	rm -rf demo build dist .mypy_cache .ruff_cache .import_linter_cache .hypothesis .pytest_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# One try per name: a name that is there may still be too old, or lack venv (Debian keeps that in python3-venv).
$(BIN)/python:
	@for name in $${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3 python}; do \
	  if "$$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "making $(VENV) with $$("$$name" --version)"; exec "$$name" -m venv $(VENV); \
	  fi; \
	done; \
	echo "needs Python 3.11 or newer with venv, and found none on PATH: install it (Debian, Ubuntu:" >&2; \
	echo "apt install python3.11 python3.11-venv), or name yours: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; \
	exit 1

$(VENV)/.core: pyproject.toml setup.py constraints.txt | $(BIN)/python
	@echo "installing into $(VENV): minutes the first time, nothing the next"
	$(PIP) --quiet "$(TORCH)"
	$(PIP) --quiet -c constraints.txt -e .
	@touch $@

$(VENV)/.ui: $(VENV)/.core
	$(PIP) --quiet -c constraints.txt -e '.[ui]'
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(PIP) --quiet -c constraints.txt -e '.[bench]'
	@touch $@

$(VENV)/.test: $(VENV)/.core
	$(PIP) --quiet -c constraints.txt -e '.[test]'
	@touch $@
