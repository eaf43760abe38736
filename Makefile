# Every target installs what it needs. `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
EXTRAS ?=
NAME ?= baseline
ARGS ?=
SHARDS ?= 4
# The command gets NAME as it is. The shell splits ARGS into words.
unexport NAME ARGS
export name := $(value NAME)

bin := .venv/bin
comma := ,
extras := $(subst $(comma), ,$(EXTRAS))
locks := requirements.lock $(extras:%=requirements-%.lock)
# One stamp per choice of extras, so that a second call starts at once.
stamp := .venv/.installed$(subst $(comma),-,$(EXTRAS:%=-%))

.PHONY: help experiment shards plan test slow browser bits faults lint bench device docs lock clean

help:  ## List the targets
	@echo "lstm_jax: make TARGET [NAME=experiment] [ARGS=\"overrides\"] [EXTRAS=cuda13]"
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 16
	@echo
	@echo "Experiments: $(basename $(notdir $(wildcard experiments/*.py)))"
	@echo "Overrides:   ARGS=\"--learning-rate 3e-3 --hidden-size 64 128\"; all of them: $(bin)/lstm-jax run --help"
	@echo "             (the shell splits ARGS into words, so quotes work in it)"
	@echo "Devices:     EXTRAS=cuda13, cuda12 or tpu installs JAX for that device; default: CPU"

# The module `venv` makes .venv. Every package of the lock file is checked against its hash.
$(stamp): $(locks) pyproject.toml
	@test -x $(bin)/python || { echo "creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing $(strip $(locks)), a minute or two the first time"
	@for lock in $(locks); do $(bin)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $$lock || exit 1; done
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

experiment: $(stamp)  ## Train or resume NAME: make experiment NAME=baseline ARGS="--seed 0 1 2"
	@$(bin)/python -m lstm_jax run "$$name" --fallback $(ARGS)

shards: $(stamp)  ## Train NAME in SHARDS=4 processes at once (GNU parallel), then join the shards
	@seq $(SHARDS) | JAX_NUM_CPU_DEVICES=1 parallel --quote --halt soon,fail=1 --line-buffer --tag $(bin)/python -m lstm_jax run "$$name" --fallback --shard {}/$(SHARDS) $(ARGS)
	@$(bin)/python -m lstm_jax run "$$name" --fallback $(ARGS)

plan: $(stamp)  ## Print what NAME would train: members, memory; trains nothing
	@$(bin)/python -m lstm_jax plan "$$name" --fallback $(ARGS)

test: $(stamp)  ## Run the tests but for the slow ones (no network; real MNIST too when TFDS_DATA_DIR holds it)
	@$(bin)/python -m pytest $(ARGS)

slow: $(stamp)  ## Run the tests that take long: whole runs in many ways, every shipped experiment
	@$(bin)/python -m pytest -m slow $(ARGS)

browser: $(stamp)  ## Look at a run's pages in headless Chromium and draw a digit on one (a minute)
	@$(bin)/python -m pytest -o addopts="-v -rs" tests/browser $(ARGS)

bits: $(stamp)  ## Train the same members in many ways and compare their bits (minutes)
	@$(bin)/python -m benchmarks.bits

faults: $(stamp)  ## Kill sweeps at random moments and look for lost bits (minutes)
	@$(bin)/python -m pytest -o addopts="-v -rs" tests/faults $(ARGS)

lint: $(stamp)  ## Check style and types
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy

bench: $(if $(QUICK),$(stamp),.venv/.installed-peers)  ## Measure the speed beside other implementations (QUICK=1: only installed ones, two minutes)
	@$(bin)/python -m benchmarks.compare $(if $(QUICK),--quick) $(ARGS)
	$(if $(QUICK)$(ARGS),,@$(bin)/python -m benchmarks.cells)

device: $(stamp)  ## Check bits and speed on this accelerator or CPU, in one table, under ten minutes (QUICK=1: one)
	@$(bin)/python -m benchmarks.device $(if $(QUICK),--quick) $(ARGS)

# The other implementations are no dependencies, so they are not in the lock file.
.venv/.installed-peers: $(stamp)
	@echo "installing the peers, some minutes the first time"
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[bench]'
	@touch $@

docs: $(stamp)  ## Write docs/api.md from the signatures and docstrings
	@$(bin)/python docs/make_api.py

lock: $(stamp)  ## Resolve the dependencies and write the lock files
	@lock="$(bin)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 --quiet --extra experiments --extra datasets --extra dev"; \
	$$lock --upgrade -o requirements.lock; \
	for extra in cuda13 cuda12 tpu; do $$lock --extra $$extra -c requirements.lock -o requirements-$$extra.lock; done

clean:  ## Remove .venv and caches (never runs/)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
