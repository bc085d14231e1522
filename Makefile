# Two commands for a fresh machine: `make train` sets up and runs the main job, `make test` sets up and passes the tests.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup train test test-slow lint types docs clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(shell grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

train: setup
	$(BIN)/aepo train --output runs/quickstart
	$(BIN)/aepo eval runs/quickstart --n 64

test: setup lint types
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m slow

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow the folder mapping of pyproject.toml, so it sees the package laid out as it installs.
types: setup
	rm -rf build/types && mkdir -p build/types/aepo_rllib
	ln -s $(CURDIR)/aepo_rllib/* $(CURDIR)/envs $(CURDIR)/eval $(CURDIR)/cli build/types/aepo_rllib/
	cd build/types && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml

docs: setup
	$(BIN)/python -m aepo_rllib.metrics > docs/metrics.md

clean:
	rm -rf $(VENV) build *.egg-info
