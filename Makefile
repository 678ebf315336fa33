# Everything a person types; `make help` lists it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DEMO_ARGS ?=
PYTEST_ARGS ?=
FUZZ_S ?= 120
# CHAOS_GO_ON=1 keeps the rounds of a run that was cut off, and plays the others.
# A round mostly waits: several at once, each with servers of its own, keep two cores busy.
CHAOS_JOBS ?= 4
# QUALITY_GO_ON=1 keeps what a run that was cut off has measured.
export MLFLOW_DISABLE_TELEMETRY = true

.PHONY: help
help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "stream_ae needs Python >= 3.11; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	# Compiled once here: where PYTHONDONTWRITEBYTECODE is set, every process would compile torch and mlflow anew.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

.PHONY: install
install: $(READY) ## Create .venv with everything pinned in requirements.lock

.PHONY: demo
demo: $(READY) ## Real Kafka, Valkey and MLflow on this machine; telemetry denoised and anomalies flagged (DEMO_ARGS=...)
	$(BIN)/stream-ae demo $(DEMO_ARGS)

.PHONY: demo-images
demo-images: $(READY) ## The same servers; a camera's noisy frames cleaned and the defects among them flagged (DEMO_ARGS=...)
	$(BIN)/stream-ae demo-images $(DEMO_ARGS)

.PHONY: test
test: check ## Everything CI runs (the same as `make check`)

.PHONY: check
check: format-check lint types floors tests ## Format, lint, types, import floors and all tests

.PHONY: format
format: $(READY) ## Rewrite the code in the house style
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: format-check
format-check: $(READY)
	$(BIN)/ruff format --check .

.PHONY: lint
lint: $(READY) ## ruff
	$(BIN)/ruff check .

.PHONY: types
types: $(READY) ## mypy --strict
	$(BIN)/mypy

.PHONY: floors
floors: $(READY) ## import-linter: who may import whom
	$(BIN)/lint-imports

.PHONY: tests
tests: $(READY) ## pytest alone (PYTEST_ARGS=...)
	$(BIN)/python -m pytest -m "not containers and not bench and not chaos and not proof and not spark" $(PYTEST_ARGS)

.PHONY: test-containers
test-containers: $(READY) ## The server tests on Kafka and Redis from testcontainers (needs a Docker engine)
	$(BIN)/python -m pytest -m "servers" --containers $(PYTEST_ARGS)

.PHONY: test-spark
test-spark: $(READY) ## A registered version on a local Spark (needs a JDK of 17 or newer; fetches pyspark, 400 MB)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target var/spark/packages \
	  pyspark==4.1.0 py4j==0.10.9.9
	PYTHONPATH=.:var/spark/packages $(BIN)/python -m pytest -m spark -q tests/spark $(PYTEST_ARGS)

.PHONY: bench
bench: $(READY) ## Measurements, as ratios to the raw echo loop; writes docs/SPEED.md
	$(BIN)/python -m pytest -m bench -s -q tests/benchmarks $(PYTEST_ARGS)

.PHONY: chaos
chaos: $(READY) ## Break everything, CHAOS_ROUNDS=20 times each in CHAOS_JOBS=4 worlds at once; writes docs/RELIABILITY.md
	$(if $(CHAOS_GO_ON),,rm -rf var/chaos)
	$(BIN)/python -m pytest -m chaos -q -n $(CHAOS_JOBS) tests/chaos $(PYTEST_ARGS)

.PHONY: proof
proof: $(READY) ## The full fuzz and the long run (PROOF_RECORDS=10000000) on the real broker; write docs/RELIABILITY.md
	$(BIN)/python -m pytest -m proof -q tests/end_to_end $(PYTEST_ARGS)

.PHONY: quality
quality: $(READY) ## Detection and denoising against peers on real data (STREAM_AE_DATA; QUALITY_PARTS=...), writes docs/QUALITY.md; an hour
	$(if $(QUALITY_GO_ON),,rm -rf var/quality/*.jsonl)
	# The peers' library wants numba, which nobody else needs.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --target var/quality/packages \
	  pyod==3.6.7 numba==0.68.1 llvmlite==0.50.0 tqdm==4.67.1
	PYTHONPATH=.:var/quality/packages $(BIN)/python -W ignore -m tests.quality

.PHONY: pictures
pictures: $(READY) ## The documentation's pictures: of both demos, and of MLflow's pages in a headless Chromium; writes docs/*.png
	$(BIN)/python -m tests.docs_pictures

.PHONY: fuzz
fuzz: $(READY) ## Coverage-guided fuzzing of the decoder against a plain reading of the wire format, for FUZZ_S=120 seconds
	$(BIN)/uv pip install --quiet --python $(BIN)/python --target var/fuzz/packages atheris==3.0.0
	PYTHONPATH=.:var/fuzz/packages $(BIN)/python -m tests.fuzz.guided -max_total_time=$(FUZZ_S) -max_len=4096 \
	  -artifact_prefix=var/fuzz/ var/fuzz/corpus

# One resolution: the images' locks are cut out of requirements.lock, so they run what the tests ran.
LOCK := $(BIN)/uv pip compile --quiet --no-emit-index-url --universal --generate-hashes
.PHONY: lock
lock: $(READY) ## Resolve requirements*.lock anew (no addresses in them)
	$(LOCK) --upgrade --extra dev pyproject.toml -o requirements.lock
	$(LOCK) --extra fast --extra images --constraint requirements.lock pyproject.toml -o requirements-runtime.lock
	echo mlflow | $(LOCK) --constraint requirements.lock - -o requirements-mlflow.lock

.PHONY: clean
clean: ## Remove the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis var
