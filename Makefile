# Everything a person needs; `make` lists it. Needs only Python 3.11+ and make.
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := help
# every process would compile what it imports again where the environment forbids keeping that
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup demo test test-all dev check check-all format lint types contracts docs lock bench-setup bench-vault bench-arrival bench-features bench-models bench-proof bench-gates bench-growth bench-minute bench-run bench-tables screenshot clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

# what a person runs: the user's packages and what they need, nothing of the tests and of optional stores
.venv/.run: requirements.run.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.run.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

.venv/.ready: requirements.lock .venv/.run
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	@touch $@

setup: .venv/.ready ## make the whole environment from the lock files: what runs, the tests, optional stores

demo: .venv/.run ## write landing objects, run every stage of all shipped pipelines, show what came of it
	$(BIN)/orchestrai demo

dev: .venv/.run ## open the Dagster UI with the same state on http://127.0.0.1:3000
	DAGSTER_HOME="$$($(BIN)/orchestrai instance)" && export DAGSTER_HOME && $(BIN)/dagster dev -w workspace.yaml -h 127.0.0.1 -p 3000

test: setup ## run the tests a person waits for; it says what was left to test-all, and why
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: setup ## run every test, with the full counts, as CI does
	set -a && . .ci/counts && $(BIN)/python -m pytest -n 2 --dist worksteal --durations=40 --durations-min=5

check: setup format lint types contracts docs test ## format, lint, types, import contracts, docs, tests

check-all: setup format lint types contracts docs test-all ## the same with every test, as CI does

format: setup ## fail when a file is not formatted
	$(BIN)/ruff format --check orchestrai orchestrai_tests bench docs

lint: setup ## fail on a lint finding
	$(BIN)/ruff check orchestrai orchestrai_tests bench docs

types: setup ## strict types
	$(BIN)/mypy

contracts: setup ## the layers, and Dagster only where it belongs
	$(BIN)/lint-imports

docs: setup ## build the site from docs/, strictly, into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --clean -d site

lock: setup ## write the lock files anew; pins that still fit stay
	$(BIN)/uv pip compile pyproject.toml --group dev --extra postgres --extra kafka --extra iceberg \
	  --generate-hashes --no-header --universal --python-version 3.11 --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml -c requirements.lock \
	  --generate-hashes --no-header --universal --python-version 3.11 --quiet -o requirements.run.lock
	$(BIN)/uv pip compile pyproject.toml --extra postgres --extra k8s -c requirements.lock \
	  --generate-hashes --no-header --universal --python-version 3.11 --quiet -o .venv/image.whole
	$(BIN)/python deploy/pins.py .venv/image.whole requirements.run.lock > deploy/image.lock
	$(BIN)/uv pip compile --group bench -c requirements.lock \
	  --generate-hashes --no-header --universal --python-version 3.11 --quiet -o bench/requirements.lock
	$(BIN)/uv pip compile --group bench-vault --generate-hashes --no-header --universal --python-version 3.11 --quiet -o bench/vault.lock

.venv/.bench: bench/requirements.lock .venv/.ready
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --require-hashes -r bench/requirements.lock
	VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip check --quiet
	@touch $@

# borg is built here, and wants the headers of lz4, zstd, xxhash, acl and openssl; it stays apart: it pins what we use otherwise
.venv/.borg: bench/vault.lock .venv/.ready
	$(PYTHON) -m venv --without-pip .venv/peers
	$(BIN)/uv pip install --quiet --require-hashes --python .venv/peers/bin/python -r bench/vault.lock || \
	  { echo "borg could not be built: apt-get install liblz4-dev libzstd-dev libxxhash-dev libacl1-dev libssl-dev pkg-config"; exit 1; }
	@for peer in restic rclone; do command -v $$peer >/dev/null || { echo "$$peer is missing: apt-get install $$peer"; exit 1; }; done
	@touch $@

bench-setup: .venv/.bench .venv/.borg ## add the peers that only the benchmarks need

bench-arrival: .venv/.bench
bench-vault: .venv/.borg
bench-vault: ARGUMENTS = $(if $(DATA),--data $(DATA))
bench-run bench-growth: ARGUMENTS = $(if $(DATA),--data $(DATA))
bench-vault: export PATH := $(CURDIR)/.venv/peers/bin:$(PATH)
bench-vault bench-arrival bench-features bench-models bench-proof bench-gates bench-growth bench-minute bench-run bench-tables: setup ## ratios against peers, one JSON object a line
	$(BIN)/python -m bench.$(@:bench-%=%) $(ARGUMENTS)

screenshot: setup ## draw docs/graph.png with headless Chromium against the running UI
	$(BIN)/python docs/screenshot.py

clean: ## forget the embedded state (landing, lake, vault, keys, runs); the environment stays
	rm -rf .orchestrai
