# `make help` lists the targets. Everything runs in .venv, made from requirements.txt by any Python from 3.11 on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := outputs/demo
RUNS ?= outputs

.DEFAULT_GOAL := help
.PHONY: help setup demo report dashboard sync test test-quick lint format hits bench data-lco data-decam clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with all that is needed
$(READY): requirements.txt requirements-dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup ## Simulate, train att_cosmic_conn, evaluate, draw: under 10 minutes on 2 cores
	$(BIN)/python train.py experiment=demo hydra.run.dir=$(DEMO)
	$(BIN)/python evaluate.py checkpoint=$(DEMO)/checkpoints/best.ckpt 'detector=[checkpoint,astroscrappy]' hydra.run.dir=$(DEMO)/evaluation
	@echo "Look at $(DEMO)/evaluation/report: tables.md, curves_dilated_decam_simulated.png, masks_decam_r.png"

report: setup ## Put finished runs into one page, report.html: RUNS="outputs/demo outputs/sweeps"
	$(BIN)/python -m cosmicgate.report.pages $(RUNS) -o report.html

dashboard: setup ## Save a W&B workspace and report of finished runs, or write down what they would be: RUNS=outputs
	$(BIN)/python -m cosmicgate.report.dashboard $(RUNS)

sync: setup ## Send offline W&B runs below RUNS=outputs, once you are logged in
	find $(RUNS) -type d -name 'offline-run-*' -print0 | xargs -0 -r $(BIN)/wandb sync --yes

# A test file to each core, in a thread: two processes that each want all cores take longer than one after the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

test: setup ## Run every test
	$(PYTEST)

test-quick: setup ## Run the tests that take seconds
	$(PYTEST) -m "not slow"

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hits: setup ## Compare simulated with real hits: REAL=itl_cosmic_rays.fits.gz
	$(BIN)/python scripts/compare_hits.py --real $(REAL)

bench: setup ## Measure this machine: simulation, metric, training, masking, its first look
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/metric.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/masking.py
	$(BIN)/python benchmarks/screening.py

data-lco: setup ## Fetch the LCO cosmic-ray data set into data/lco (ARGS=--dry-run tells how large it is)
	$(BIN)/python -m cosmicgate.data.archives lco $(ARGS)

data-decam: setup ## Fetch 4 DECam exposures a band, their masks and 14 darks into data/noirlab (ARGS as above)
	$(BIN)/python -m cosmicgate.data.archives decam --kind science dqmask darks $(ARGS)

clean: ## Remove what the demo and the tests made (not data/, not other outputs)
	rm -rf $(DEMO) .pytest_cache .mypy_cache .ruff_cache
