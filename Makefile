# `make help` lists the targets. Everything lives in .venv, build/ and runs/ (and pip's and datasets' own caches).

# python3.11 where it is found, else python3 (which must be at least 3.11).
PYTHON ?= $(shell command -v python3.11 || echo python3)
# torch is not in the lock, since its wheel differs by platform: pip installs this version, from TORCH_INDEX where
# that is set, else from pip's own index.
TORCH_VERSION ?= 2.13.0
TORCH_INDEX ?=
# The resolver behind `make lock`.
UV_VERSION := 0.13.9

BIN := .venv/bin
STAMP := .venv/.stamp
# -qq: only errors are shown. --no-compile: a module is byte-compiled when it is first imported, and most never are.
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-compile
# The few source distributions are built with the setuptools that torch brought: no build fetches anything unlocked.
LOCKED := --no-deps --no-build-isolation

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all lint fmt bench lock clean

##@ Use
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything locked (redone when the lock or pyproject.toml changes)

run: setup ## Evolve the example's real language model, from nothing to verdict
	$(BIN)/python examples/smollm2/make_parents.py
	$(BIN)/darwin run examples/smollm2.yaml

##@ Develop
test: setup ## Run the tests, without the slow ones
	$(BIN)/python -m pytest -m "not slow"

test-all: setup ## Run every test
	$(BIN)/python -m pytest

lint: setup ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: setup ## Measure MRI and merge against their peers, about 6 minutes (tables, and JSON in benchmarks/results/)
	$(BIN)/python benchmarks/mri.py
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python benchmarks/merge.py
	$(BIN)/python benchmarks/report.py --write > /dev/null

##@ Maintain
lock: ## Resolve pyproject.toml anew into requirements.lock (UPGRADE=1: to the newest versions)
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check -qq install uv==$(UV_VERSION)
	echo "torch==$(TORCH_VERSION)" | UV_CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/uv pip compile --quiet \
		--all-extras --group setup --constraint /dev/stdin --python-version 3.11 --python-platform linux \
		--no-emit-package torch --generate-hashes --no-emit-index-url --no-annotate \
		$(if $(UPGRADE),--upgrade) --output-file requirements.lock pyproject.toml
	rm -rf build/lock

clean: ## Remove .venv, builds and caches; never runs/
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Darwin needs Python 3.11 or newer, and $(PYTHON) isn't: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "set-up 1/3: .venv and torch $(TORCH_VERSION)"
	@$(PYTHON) -m venv .venv
	@$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH_VERSION)
	@echo "set-up 2/3: the packages of requirements.lock"
	@$(PIP_INSTALL) $(LOCKED) --require-hashes -r requirements.lock
	@echo "set-up 3/3: darwinmerge itself, editable"
	@$(PIP_INSTALL) $(LOCKED) --editable .
	@touch $@
