# `make scan` and `make test` need python3 (3.11 or newer) and make; they set up the rest in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN ?= runs/phi4-cycle

.PHONY: scan test test-all test-slow lint typecheck docs wheel-check clean help
.DELETE_ON_ERROR:

help:
	@echo "make scan         train one flow of phi4 theory on the cycle and plot it against m"
	@echo "make test         run the fast tests; make test-all: those that take minutes, too"
	@echo "make test-slow    run the slow tests alone, with thorough searches, for hours"
	@echo "make lint         check style; make typecheck: check types"
	@echo "make docs         build the documentation into build/docs"
	@echo "make wheel-check  build a wheel and use it in an empty environment"
	@echo "make clean        remove the environment and caches; runs and results stay"

# An interrupted training is carried on, a finished one is used as it is; the scan is drawn anew.
scan: $(VENV)/runtime
	$(BIN)/lattice-flows train $(RUN) --theory phi4 --sites 16 --m 0.25:1 --resume
	$(BIN)/lattice-flows scan $(RUN) --m 0.25:1:16 -n 16384 -o scan.nc --plot scan.png --overwrite

test: $(VENV)/dev
	$(BIN)/python -m pytest -n auto --dist worksteal

test-all: test
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'slow and not thorough'

test-slow: $(VENV)/dev
	$(BIN)/python -m pytest -n auto --dist worksteal -m 'slow or thorough'

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

typecheck: $(VENV)/dev
	$(BIN)/pyright

docs: $(VENV)/docs
	$(BIN)/python -m sphinx -q -b html -W --keep-going docs build/docs

wheel-check: $(VENV)/dev
	PYTHON=$(BIN)/python .ci/wheel-check

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .hypothesis .ruff_cache
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: pyproject.toml | $(BIN)/python
	$(PIP) install -e .
	@touch $@

$(VENV)/dev: pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[dev]'
	@touch $@ $(VENV)/runtime

$(VENV)/docs: pyproject.toml | $(BIN)/python
	$(PIP) install -e '.[dev,docs]'
	@touch $@ $(VENV)/dev $(VENV)/runtime
