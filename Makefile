# Every target prepares what it needs; `make help` explains them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
EXTRAS ?=
NAME ?= baseline
ARGS ?=
SHARDS ?= 4
# The name reaches the command as it is; ARGS are words of your own shell, with its quotes.
unexport NAME ARGS
export name := $(value NAME)

bin := .venv/bin
comma := ,
extras := $(subst $(comma), ,$(EXTRAS))
locks := requirements.lock $(extras:%=requirements-%.lock)
# One stamp for each choice of extras: a second call starts at once.
stamp := .venv/.installed$(subst $(comma),-,$(EXTRAS:%=-%))

.PHONY: help experiment shards plan test bits faults lint bench lock clean

help:  ## Explain every target
	@echo "lstm_jax: make TARGET [NAME=experiment] [ARGS=\"overrides\"] [EXTRAS=cuda13]"
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  \1\t/' | expand -t 16
	@echo
	@echo "Experiments: $(basename $(notdir $(wildcard experiments/*.py)))"
	@echo "Overrides:   ARGS=\"--learning-rate 3e-3 --hidden-size 64 128\"; all of them: $(bin)/lstm-jax run --help"
	@echo "             (your shell reads ARGS, quotes and all)"
	@echo "Devices:     EXTRAS=cuda13, cuda12 or tpu installs JAX for that device; without it, CPU"

# The venv is made by the standard module, the packages come from the lock with their hashes.
$(stamp): $(locks) pyproject.toml
	@test -x $(bin)/python || { echo "creating .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing $(strip $(locks)), a minute or two the first time"
	@for lock in $(locks); do $(bin)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $$lock || exit 1; done
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

experiment: $(stamp)  ## Train NAME, or resume it: make experiment NAME=baseline ARGS="--seed 0 1 2"
	@$(bin)/python -m lstm_jax run "$$name" --fallback $(ARGS)

shards: $(stamp)  ## Train NAME in SHARDS=4 processes at once (GNU parallel), and put the shards together
	@seq $(SHARDS) | JAX_NUM_CPU_DEVICES=1 parallel --quote --halt soon,fail=1 --line-buffer --tag $(bin)/python -m lstm_jax run "$$name" --fallback --shard {}/$(SHARDS) $(ARGS)
	@$(bin)/python -m lstm_jax run "$$name" --fallback $(ARGS)

plan: $(stamp)  ## Say what NAME would run, and train nothing
	@$(bin)/python -m lstm_jax plan "$$name" --fallback $(ARGS)

test: $(stamp)  ## Run the tests (no network; real MNIST too when TFDS_DATA_DIR holds it)
	@$(bin)/python -m pytest $(ARGS)

bits: $(stamp)  ## Run one member in many ways and compare its bits, for minutes
	@$(bin)/python -m benchmarks.bits

faults: $(stamp)  ## Kill sweeps at random moments, for minutes, and look for a lost bit
	@$(bin)/python -m pytest -o addopts="-v -rs" tests/faults $(ARGS)

lint: $(stamp)  ## Check style and types
	@$(bin)/ruff check .
	@$(bin)/ruff format --check .
	@$(bin)/mypy

bench: $(if $(QUICK),$(stamp),.venv/.installed-peers)  ## Measure the recurrence beside its peers (QUICK=1: those installed, two minutes)
	@$(bin)/python -m benchmarks.compare $(if $(QUICK),--quick) $(ARGS)

# The peers are measured, not depended on: the newest that fit, outside the lock.
.venv/.installed-peers: $(stamp)
	@echo "installing the peers, some minutes the first time"
	@$(bin)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable '.[bench]'
	@touch $@

lock: $(stamp)  ## Resolve the dependencies again and write the lock files
	@lock="$(bin)/uv pip compile pyproject.toml --universal --generate-hashes --no-header --no-emit-index-url --python-version 3.11 --quiet --extra experiments --extra datasets --extra dev"; \
	$$lock --upgrade -o requirements.lock; \
	for extra in cuda13 cuda12 tpu; do $$lock --extra $$extra -c requirements.lock -o requirements-$$extra.lock; done

clean:  ## Remove .venv and caches (never runs/)
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache
