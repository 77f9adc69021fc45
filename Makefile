# `make demo` and `make test` need python3 (3.11 or later) and make, nothing else.
PYTHON ?= python3
SERVE ?= 1
BIN := .venv/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes

.PHONY: install install-dev install-spark demo test lint format trust bench peers notebook client lock clean

install: .venv/runtime
install-dev: .venv/dev
install-spark: .venv/spark

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Kunto needs Python 3.11 or later: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv .venv

.venv/runtime: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing Kunto into .venv (pinned, with hashes) …"
	$(PIP_INSTALL) -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "Installing Kunto and its development tools into .venv (pinned, with hashes) …"
	$(PIP_INSTALL) -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch .venv/runtime $@

# PySpark comes as a source package: it is built with the setuptools that `install` brings, so that nothing else is fetched.
.venv/spark: requirements-spark.lock pyproject.toml | .venv/runtime
	@echo "Installing Spark into .venv (pinned, with hashes); it needs Java 17 or later to run …"
	$(PIP_INSTALL) --no-build-isolation -r requirements-spark.lock
	@touch $@

demo: install
	@SERVE=$(SERVE) $(BIN)/python -m kunto.demo

test: install-dev
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile -m "not trust"

trust: install-dev
	$(BIN)/pytest -m trust

bench: install-dev
	$(BIN)/python -m benchmarks.real_data
	$(BIN)/python -m benchmarks.oracle --seeds 11 12 13 14 15
	$(BIN)/python -m benchmarks.learning_curve
	$(BIN)/python -m benchmarks.training_time
	$(BIN)/python -m benchmarks.flat_table
	$(BIN)/python -m benchmarks.explain
	$(BIN)/python -m benchmarks.reasons
	$(BIN)/python -m benchmarks.sources
	$(BIN)/python -m benchmarks.regularities
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.features

# What ours is measured beside, each in an environment of its own.
peers: install-dev
	$(BIN)/python -m benchmarks.feature_peers.environment

notebook: install-dev
	OMP_NUM_THREADS=1 $(BIN)/jupyter execute --inplace notebooks/train_compare_promote.ipynb

client: install-dev
	@mkdir -p build
	$(BIN)/python -m serving.api.description > build/openapi.json
	PATH="$(CURDIR)/$(BIN):$$PATH" openapi-python-client generate --path build/openapi.json --meta none --output-path build/kunto_client --overwrite

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock:
	uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements.lock
	uv pip compile pyproject.toml --extra spark -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements-spark.lock
	uv pip compile pyproject.toml --extra dev --extra spark -c requirements.lock --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements-dev.lock
	for peer in polars featuretools; do uv pip compile --group pyproject.toml:$$peer --universal --python-version 3.11 --generate-hashes --no-emit-index-url -o requirements-$$peer.lock; done

clean:
	rm -rf .venv workspace build *.egg-info
