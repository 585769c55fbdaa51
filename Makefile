# `make help` lists the targets. Everything runs in .venv, made from requirements.txt by any Python from 3.11 on.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := outputs/demo
RUNS ?= outputs
PRETRAINED := outputs/pretrained$(if $(SIZE),_$(SIZE))

.DEFAULT_GOAL := help
.PHONY: help setup demo report dashboard sync test test-quick lint format pretrained hits bench data-lco data-decam data-real docs docs-links docs-tables clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with all that is needed
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; choose one: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

demo: setup ## Simulate, train att_cosmic_conn, evaluate it beside two others, draw: under 10 minutes on 2 cores
	$(BIN)/python train.py experiment=demo hydra.run.dir=$(DEMO)

# Calibration, and the tuning of the cascade, are part of packaging. To use the files: cosmicgate mask -m FILE, or copy
# them to src/cosmicgate/pretrained/weights. The model card names COMMAND.
CHOICES = $(if $(REAL),real=$(REAL)) $(if $(SIZE),pretrained/size=$(SIZE)) $(ARGS)
COMMAND = $(strip make pretrained $(if $(SIZE),SIZE=$(SIZE)) $(if $(ARGS),ARGS="$(ARGS)"))
pretrained: setup ## Train the network for any camera and its cascade, calibrate, package (SIZE=demo: minutes; REAL=DIR)
	$(BIN)/python train.py pretrained=general $(CHOICES) hydra.run.dir=$(PRETRAINED)/general
	$(BIN)/python train.py pretrained=general_annealed $(CHOICES) start=$(PRETRAINED)/general hydra.run.dir=$(PRETRAINED)/general_annealed
	$(BIN)/python train.py pretrained=general_cascade $(CHOICES) hydra.run.dir=$(PRETRAINED)/general_cascade
	$(BIN)/python -m cosmicgate.release $(PRETRAINED)/general_annealed --name general --command '$(COMMAND)' \
		--coarse $(PRETRAINED)/general_cascade --coarse-command '$(COMMAND)' --folder $(PRETRAINED)/package

report: setup ## Put finished runs into one page, report.html: RUNS="outputs/demo outputs/sweeps"
	$(BIN)/python -m cosmicgate.report.pages $(RUNS) -o report.html

dashboard: setup ## Save a W&B workspace and report of finished runs (wandb login first): RUNS=outputs
	$(BIN)/python -m cosmicgate.report.dashboard $(RUNS)

sync: setup ## Send offline W&B runs below RUNS=outputs, once you are logged in
	find $(RUNS) -type d -name 'offline-run-*' -print0 | xargs -0 -r $(BIN)/wandb sync --yes

# A test file to each core, in a thread: two processes that each want all cores take longer than one after the other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --durations=20

test: setup ## Run every test
	$(PYTEST)

test-quick: setup ## Run the tests that take less than a second each
	$(PYTEST) -m "not slow"

lint: setup ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## Put the code into its form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

hits: setup ## Compare simulated with real hits: REAL=itl_cosmic_rays.fits.gz, if not that of data-real
	$(BIN)/python scripts/compare_hits.py --real $(or $(REAL),data/real/cr/itl_cosmic_rays.fits.gz)

bench: setup ## Measure this machine: simulation, metric, training, masking, its cascade, what replaces hits
	$(BIN)/python benchmarks/simulation.py
	$(BIN)/python benchmarks/metric.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/masking.py
	$(BIN)/python benchmarks/cascade.py
	$(BIN)/python benchmarks/cleaning.py

data-lco: setup ## Fetch the LCO cosmic-ray data set into data/lco (ARGS=--dry-run tells how large it is)
	$(BIN)/python -m cosmicgate.data.download lco $(ARGS)

data-decam: setup ## Fetch 4 DECam exposures a band, their masks and 14 darks into data/noirlab (ARGS as above)
	$(BIN)/python -m cosmicgate.data.download decam --kind science dqmask darks $(ARGS)

data-real: setup ## Fetch the small real data into data/real, and make their truth planes (ARGS as above, or --no-labels)
	$(BIN)/python -m cosmicgate.data.download real $(ARGS)

SPHINX := $(BIN)/python -m sphinx -W --keep-going -n -d docs/_build/doctrees
$(VENV)/.docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	touch $@

docs: $(VENV)/.docs ## Build the documentation site into docs/_build/html; a warning is an error
	$(SPHINX) -b html docs docs/_build/html

docs-links: $(VENV)/.docs ## Try the links of the documentation that leave it
	$(SPHINX) -b linkcheck docs docs/_build/links

docs-tables: setup ## Write the tables of docs/*.md again, from docs/results/*.csv
	$(BIN)/python docs/tables.py

clean: ## Remove what the demo, the tests and the documentation made (not data/, not other outputs)
	rm -rf $(DEMO) docs/_build docs/api/generated docs/repository .pytest_cache .mypy_cache .ruff_cache
