# What a fresh machine needs: Python 3.11 or newer, Node 20, git and make. Everything else is installed into .venv.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIPFLAGS ?=
# Hundreds of tests start programs of ours; without kept bytecode each of them would compile the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test check bench docs soak venv clean

demo: venv ## a paid request from end to end on a local chain
	$(BIN)/coinslot demo

# On two cores a third worker works while others wait: for a chain, a disk, a process that is to die.
test: check ## everything CI runs
	$(BIN)/python -m pytest -n 3 --dist loadgroup

check: venv ## style, lint and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: venv ## how fast, in ratios; writes bench/results.json
	$(BIN)/python -m bench

docs: venv ## every command and snippet of the documents
	$(BIN)/python -m pytest tests/test_docs.py

soak: venv ## the long searches; hours
	HYPOTHESIS_PROFILE=soak COINSLOT_SOAK=1 $(BIN)/python -m pytest -n 2 --dist loadgroup --timeout 0

venv: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("coinslot needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else 0'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet $(PIPFLAGS) --disable-pip-version-check -c constraints.txt -e '.[all,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
