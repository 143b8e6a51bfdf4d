SHELL := /bin/bash
# The first that is 3.11, 3.12 or 3.13; infra/setup.py says so in one line if none is.
PYTHON ?= $(shell for python in python3.11 python3.12 python3.13 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' 2>/dev/null \
	&& break; done; echo $$python)
BIN := .venv/bin
STAMP := .venv/.installed-$(shell cat requirements.lock pyproject.toml | sha256sum | cut -c1-16)
export PATH := $(CURDIR)/$(BIN):$(PATH)
export RAY_AUTH_MODE := disabled
export RAY_USAGE_STATS_ENABLED := 0
export DO_NOT_TRACK := 1
export PREFECT_SERVER_ANALYTICS_ENABLED := false
# Container images often set it. Every process would compile torch, Ray and Prefect from source anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo demo-full test test-long check format bench peers up down clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

setup: $(STAMP)  ## virtual environment with locked versions (the others do this first)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) infra/setup.py .venv $@

demo: setup  ## the whole pipeline on moving shapes, ends with demo/report/index.html
	@$(BIN)/nuwa run demo --preset demo

demo-full: setup  ## the same with sketches learned too, and all eight tasks in the report
	@$(BIN)/nuwa run demo --preset demo_full

test: setup  ## fast tests: real ffmpeg, Ray, Prefect and DeepSpeed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-long: setup  ## slow kill and fault tests
	$(BIN)/python -m pytest -m slow

check: setup  ## ruff, mypy, import contracts
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

format: setup  ## format and fix what can be fixed safely
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: setup  ## figures beside their bounds and peers
	@for bench in benchmarks/bench_*.py; do THP_MEM_ALLOC_ENABLE=1 $(BIN)/python $$bench || exit 1; done

peers: setup  ## other people's packages, which benchmarks compare with
	$(BIN)/python -m pip install --quiet --no-deps --target benchmarks/.peers -r benchmarks/peers.txt

up: setup  ## Prefect server, Ray head and worker on this machine, every flow deployed
	@$(BIN)/python infra/services.py up

down: setup  ## stop exactly what `make up` started
	@$(BIN)/python infra/services.py down

clean:  ## remove the environment and caches; stores, demo and reports stay
	rm -rf .venv .venv.lock .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
