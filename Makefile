# Every target sets up what it needs; the first run installs the locked packages into .venv.
export DO_NOT_TRACK := 1
PYTHON ?= python3
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-deps --no-compile --disable-pip-version-check

.PHONY: train test test-all lint viz ui clean
train: .venv/installed  ## train, calibrate, evaluate and register CARAT
	$(BIN)/kedro run --pipeline=train_mosei

test: lint  ## the whole suite without what is marked slow
	$(BIN)/python -m pytest

test-all: lint .venv/installed-dask  ## with the slow tests
	$(BIN)/python -m pytest -m "not gpu"

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

viz: .venv/installed  ## the pipelines in the browser
	$(BIN)/kedro viz run

ui: .venv/installed  ## runs and registered models in the browser
	$(BIN)/mlflow ui --backend-store-uri sqlite:///mlflow.db --port 5000

clean:  ## remove what runs have made; the environment, data/01_raw and the registry stay
	rm -rf data/0[2-8]_*/* build .pytest_cache .ruff_cache .mypy_cache .hypothesis

.venv/installed: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(INSTALL) torch==2.13.0
	$(INSTALL) -r requirements.lock
	$(INSTALL) --no-build-isolation --editable .
	touch $@

.venv/installed-dask: requirements-dask.lock .venv/installed
	$(INSTALL) -r requirements-dask.lock
	touch $@
