# Needs Python 3.11 or newer and pip; everything else goes into .venv.
PYTHON ?= python3
BIN := .venv/bin
OMP_NUM_THREADS ?= 1
# Without bytecode files every command that a test starts would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install demo test bench docs docs-site format clean

install: .venv/.stamp-test  ## the virtual environment, with .venv/bin/scantling and the tools of the tests

demo: .venv/.stamp-core  ## the whole way on images that it makes; ends with a report to open
	$(BIN)/scantling demo --out demo

test: .venv/.stamp-test  ## format, lint, types, import rules, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy & types=$$!; \
	OMP_NUM_THREADS=$(OMP_NUM_THREADS) $(BIN)/pytest -n 2 --dist worksteal -q; tests=$$?; \
	wait $$types && exit $$tests

bench: .venv/.stamp-test  ## the measurements behind docs/results.md
	$(BIN)/python benchmarks/run.py

docs: .venv/.stamp-core  ## the parts of the docs that are written by code
	$(BIN)/python scripts/make_docs.py

docs-site: .venv/.stamp-core  ## the docs as a site, in site/
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[docs]'
	$(BIN)/python scripts/make_site.py

format: .venv/.stamp-test  ## ruff's formatting and safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## everything that the targets above have made, apart from the environment
	rm -rf demo build dist site .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Scantling needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1 || true)." \
	    "Install one and name it, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

.venv/.stamp-core: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

.venv/.stamp-test: pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch .venv/.stamp-core $@
