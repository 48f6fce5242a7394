# `make demo` and `make test` need Python 3.11 or newer, make and a package registry, nothing else.

.DEFAULT_GOAL := help
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALL := -m pip install --quiet --disable-pip-version-check
PIP := $(BIN)/python $(INSTALL)

# The first that runs, is new enough and can make virtual environments; `make PYTHON=… test` tries another before.
CANDIDATES := $(PYTHON) python3.13 python3.12 python3.11 python3 python
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))

.PHONY: help demo test lint types layers check docs check-table bench upstream clean

help: ## show what there is
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 18

demo: $(VENV)/.cli ## see it work, whole, on this machine (under a minute)
	@$(BIN)/paceline demo

test: lint types layers check ## everything that must hold: lint, types, layers, tests

lint: $(VENV)/.dev ## ruff
	@$(BIN)/ruff check --quiet .

types: $(VENV)/.dev ## mypy --strict, the package and its use
	@$(BIN)/mypy --no-error-summary src tests/typing

layers: $(VENV)/.dev ## imports point down only
	@$(BIN)/lint-imports --no-logo > $(VENV)/layers.txt 2>&1 || { cat $(VENV)/layers.txt; exit 1; }

check: $(VENV)/.dev $(VENV)/.mitmproxy ## all tests and the examples of all docstrings, with branch coverage
	@$(BIN)/python -m pytest -q -n 2 --dist loadgroup --doctest-modules --cov --cov-report=term:skip-covered src tests

docs: $(VENV)/.dev ## write the generated pages of docs/ anew, from the program
	@$(BIN)/python docs/commands.py
	@$(BIN)/python docs/presets.py
	@$(BIN)/python docs/check.py --page

check-table: $(VENV)/.dev ## measure anew what paceline check finds (about six minutes)
	@$(BIN)/python docs/check.py

bench: $(VENV)/.dev ## CPU time of a fetched request, beside a raw aiohttp loop
	@$(BIN)/python bench/fetch.py --only aiohttp paceline

upstream: $(VENV)/.dev ## the published test suites of requests and httpx, with paceline in place (needs the registry)
	@$(BIN)/python bench/upstream.py

clean: ## forget the virtual environment and all caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage

$(BIN)/python:
	@for python in $(CANDIDATES); do \
	  if $$python -c '$(SUITABLE)' > /dev/null 2>&1; then \
	    echo "making $(VENV) with $$($$python --version 2>&1)"; \
	    exec $$python -m venv --clear $(VENV); \
	  fi; \
	done; \
	echo "paceline needs Python 3.11 or newer with the module venv (on Debian: apt install python3-venv);" >&2; \
	echo "none of these is: $(CANDIDATES)" >&2; \
	exit 1

$(VENV)/.cli: pyproject.toml | $(BIN)/python
	@echo "installing paceline[cli]"
	@$(PIP) --editable '.[cli]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "installing paceline[dev]"
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.cli

# An environment of its own, for what it pins does not go with httpx; the tests of the addon start it.
$(VENV)/.mitmproxy: pyproject.toml | $(BIN)/python
	@echo "installing paceline[mitmproxy], beside"
	@$(BIN)/python -m venv --clear $(VENV)/mitmproxy
	@$(VENV)/mitmproxy/bin/python $(INSTALL) --editable '.[mitmproxy]'
	@touch $@
