# One entry point for people and for CI; CONTRIBUTING.md says more.
# Needs only Python >= 3.11, make and a C compiler (for platforms without a wheel of some dependency).

VENV := .venv
BIN := $(VENV)/bin
# The first Python on PATH that is new enough and can make virtual environments.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo "$$p" && break; done)
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check
# -e . builds with the pinned build tools; dependencies come from the lock only.
INSTALL_PERDURE = $(PIP_INSTALL) --no-deps --no-build-isolation -e .

.PHONY: help
help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

.PHONY: demo
demo: $(VENV)/.runtime ## Run the demo (DIR=... chooses where it works)
	$(BIN)/python -m examples.backup.demo $(if $(DIR),"$(DIR)")

.PHONY: test
test: $(VENV)/.dev ## Run the tests (ARGS=... goes to pytest)
	$(BIN)/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal $(ARGS)

.PHONY: check lint format-check types imports dead
check: lint format-check types imports dead ## Run every static check
lint: $(VENV)/.dev
	$(BIN)/ruff check
format-check: $(VENV)/.dev
	$(BIN)/ruff format --check
types: $(VENV)/.dev
	$(BIN)/pyright
imports: $(VENV)/.dev
	$(BIN)/lint-imports --no-logo
dead: $(VENV)/.dev
	$(BIN)/vulture

.PHONY: format
format: $(VENV)/.dev ## Format, and fix what ruff can fix
	$(BIN)/ruff check --fix --exit-zero
	$(BIN)/ruff format

.PHONY: bench
bench: $(VENV)/.runtime ## Run the short benchmarks; they print JSON lines
	$(BIN)/python -m benchmarks --short

.PHONY: docs
docs: $(VENV)/.docs ## Build the documentation into site/
	$(BIN)/python docs/_generate.py
	$(BIN)/mkdocs build --quiet --strict

.PHONY: setup
setup: $(VENV)/.dev ## Make .venv with everything that the other targets need

.PHONY: lock
lock: $(VENV)/.lock ## Rewrite the lock files (LOCK_FLAGS=--upgrade takes newer releases)
	$(COMPILE) --output-file requirements/lock.txt requirements/lock.in
	$(COMPILE) --all-extras --output-file requirements/runtime.txt pyproject.toml requirements/build.in
	$(COMPILE) --all-extras --constraint requirements/runtime.txt --output-file requirements/dev.txt \
		pyproject.toml requirements/build.in requirements/dev.in
	$(COMPILE) --constraint requirements/dev.txt --output-file requirements/docs.txt requirements/docs.in
	$(subst 3.11,3.13,$(COMPILE)) --extra grpc --extra host --output-file requirements/azure-preview.txt \
		pyproject.toml requirements/build.in requirements/azure-preview.in

# --universal writes markers instead of what this one machine needs; hashes are those of every file of a release.
COMPILE = $(BIN)/uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command "make lock" $(LOCK_FLAGS)

.PHONY: clean
clean: ## Remove .venv and everything that tools left behind
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis dist site
	find src tests examples benchmarks docs -name __pycache__ -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "no Python >= 3.11 with the venv module on PATH; name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)

# Order-only (|): the time stamp of the interpreter says nothing about what is installed.
$(VENV)/.runtime: requirements/runtime.txt pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --require-hashes -r requirements/runtime.txt
	$(INSTALL_PERDURE)
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(BIN)/python
	$(PIP_INSTALL) --require-hashes -r requirements/dev.txt
	$(INSTALL_PERDURE)
	@touch $(VENV)/.runtime $@

# On top of .dev, so that a later change of dev.txt can't leave two versions of what both need.
$(VENV)/.docs: requirements/docs.txt $(VENV)/.dev
	$(PIP_INSTALL) --require-hashes -r requirements/docs.txt
	@touch $@

$(VENV)/.lock: | $(BIN)/python
	$(PIP_INSTALL) --require-hashes -r requirements/lock.txt
	@touch $@
