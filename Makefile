# Every target sets up .venv by itself when it is missing or stale, and is quick when it is not.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
HOME_FOLDER ?= artifacts

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint format bench clean

help:  ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(READY)  ## generated notes -> tower -> index -> ranker -> report, then three questions asked of it
	$(BIN)/recsys quickstart --home $(HOME_FOLDER)

test: $(READY)  ## the fast tests, in as many processes as there are cores (at most 4)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow and not gpu" -n auto --maxprocesses 4 --dist loadfile

test-slow: $(READY)  ## the tests that take minutes (real data, where it is present)
	$(BIN)/python -m pytest -m slow

lint: $(READY)  ## format, style and types, unchanged
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)  ## put format and imports in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## side-by-side measurements, written to benchmarks/results/
	for script in benchmarks/bench_*.py; do $(BIN)/python $$script || exit 1; done

clean:  ## remove the environment, caches and artifacts
	rm -rf $(VENV) artifacts build dist .mypy_cache .ruff_cache .pytest_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
