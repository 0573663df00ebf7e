# Groundplane's commands. `make demo` and `make test` need nothing but a package registry and root.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
VENV := .venv
PY := $(VENV)/bin/python

.PHONY: help compiled install demo test lint bench clean

help:  ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

# A stamp, so that nothing is installed twice; pyproject.toml is what it depends on.
$(VENV)/installed: pyproject.toml
	@tools/prepare-host python
	@echo 'installing Groundplane into $(VENV) …'
	@test -x $(PY) || $$(tools/prepare-host which-python) -m venv $(VENV)
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[fast]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo 'installing what the tests need into $(VENV) …'
	@$(PY) -m pip install -q --disable-pip-version-check -e '.[fast,dev]'
	@touch $@

# Bytecode, where the environment forbids Python to keep it (PYTHONDONTWRITEBYTECODE): the daemon starts 300 ms sooner.
compiled: $(VENV)/installed
	@$(PY) -m compileall -q src

install: compiled  ## a virtual environment with ground, groundd and ground-runtime

demo: compiled  ## bring a cluster up, run a real application on it, show it, take it down
	@$(PY) examples/demo/demo.py

test: $(VENV)/installed-dev compiled  ## everything: style, unit, contracts, the real kernel, real clients
	@tools/prepare-host test
	@$(PY) -m pytest

lint: $(VENV)/installed-dev  ## ruff, mypy, import-linter only
	@$(PY) -m pytest tests/style

bench: $(VENV)/installed-dev compiled  ## ours and the installed peers in one run; writes docs/quality/performance.md
	@$(PY) -m bench

clean:  ## remove what make made
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
