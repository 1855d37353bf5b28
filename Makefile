# Every target sets up what it needs; the first run installs the locked packages into .venv.
export DO_NOT_TRACK := 1
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-deps --no-compile --disable-pip-version-check

MADE = $(wildcard data/0[234578]_*/* $(if $(MODELS),data/06_models/*) logs build .pytest_cache .ruff_cache \
	.mypy_cache .hypothesis)

# What was installed for another folder would run that folder's program.
MOVED = $(shell test ! -e .venv/installed || test "$$(cat .venv/installed)" = "$(CURDIR)" || echo moved)

.PHONY: moved probes train test test-all lint viz docs ui pictures tables clean help
train: .venv/installed  ## train, calibrate, compare and register the default system on the default corpus
	$(BIN)/python -m kedro run --pipelines=__default__

test: lint  ## the whole suite without what is marked slow
	$(BIN)/python -m pytest --numprocesses=2 --dist=loadfile

test-all: lint .venv/installed-dask .venv/installed-server  ## with the slow tests
	$(BIN)/python -m pytest -m "not gpu"

lint: .venv/installed
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c "from importlinter.cli import lint_imports_command as main; main()"

probes: .venv/installed  ## what each system can learn, on synthetic corpora of one structure each (30 minutes)
	$(BIN)/python -m kedro run --pipelines=compare_probes

viz: .venv/installed  ## the pipelines in the browser
	$(BIN)/python docs/make_graph.py --show

docs: .venv/installed  ## the same as a site in build/, for any web server
	$(BIN)/python docs/make_graph.py

ui: .venv/installed  ## runs and registered models in the browser
	@$(BIN)/python -m mmer.registry.moved mlflow.db 5000
	$(BIN)/python -m mlflow ui --backend-store-uri sqlite:///mlflow.db --port 5000

pictures: .venv/installed  ## the README's pictures, from the last run (needs Chromium)
	$(BIN)/python docs/make_pictures.py

tables: .venv/installed  ## the tables of README.md and docs/figures.md, from benchmarks/results
	$(BIN)/python docs/make_tables.py

clean:  ## remove what runs have made but models and the registry; MODELS=1 removes models too
	@echo "Removing: $(MADE)"
	@rm -rf $(MADE)
	@echo "Keeping: .venv, data/01_raw, $(if $(MODELS),,data/06_models, )mlflow.db, mlartifacts"

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

.venv/installed: requirements.lock pyproject.toml $(MOVED)
	$(if $(MOVED),@echo "This folder was moved or copied: .venv is set up anew."; rm -rf .venv)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch==2.13.0
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

moved:

.venv/installed-dask: requirements-dask.lock .venv/installed
	$(INSTALL) -r requirements-dask.lock
	touch $@

.venv/installed-server: requirements-server.lock .venv/installed
	$(INSTALL) -r requirements-server.lock
	touch $@
