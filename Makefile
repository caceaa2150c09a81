# Each target works from a bare clone: it needs python3 (3.11 or newer), make and a network, and keeps to this folder.
#
#   make demo     compile AlexNet, run the emitted module once, print the table of shapes
#   make test     every test                    make test PYTEST_ARGS="-k alexnet -n 0"   some of them
#   make check    ruff, mypy --strict, import-linter
#   make format   let ruff format and fix the Python files
#   make docs     write docs/operators.md from the layer classes
#   make bench    start-up time against torchinfo, and cost against the number of layers
#   make clean    remove everything that these targets made

PYTHON ?= python3
# worksteal gives each worker a run of neighbours, so that what a module shares is mostly made once
PYTEST_ARGS ?= -n 2 --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
INSTALL := $(PIP) install --constraint constraints.txt
DEMO := build/demo
PINS := pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test check format docs bench clean

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.core
	@mkdir -p $(DEMO)
	$(BIN)/cnnc compile specs/alexnet.cnn --target torch -o $(DEMO)/alexnet.py
	cd $(DEMO) && ../../$(BIN)/python -c "import torch, alexnet; print(alexnet.AlexNet()(torch.rand(1, 3, 227, 227)).shape)"
	$(BIN)/cnnc shapes alexnet

test: $(VENV)/.test
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(VENV)/.check
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.check
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: $(VENV)/.core
	$(BIN)/python -m cnnc.layers.manual > docs/operators.md

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scaling.py

clean:
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: a stamp says that a step was done with the present pyproject.toml and constraints.txt

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; v = sys.version.split()[0]; sys.version_info >= (3, 11) or sys.exit(f"cnnc needs Python 3.11 or newer, but $(PYTHON) is {v}: call make with PYTHON=python3.12, say")'
	$(PYTHON) -m venv --clear $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

# torch goes first and exactly as pinned, so that nothing that follows can pull a larger one
$(VENV)/.core: $(VENV)/.python $(PINS)
	$(INSTALL) $$(grep '^torch==' constraints.txt) numpy
	$(INSTALL) --editable .
	@$(BIN)/python -m compileall -q dsl  # as for any installed package: some environments forbid Python to write bytecode as it runs
	@touch $@

$(VENV)/.test $(VENV)/.check $(VENV)/.bench: $(VENV)/.%: $(VENV)/.core
	$(INSTALL) --group $*
	@touch $@
