# The two that set up and do everything: make daily, make test. Others: make help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
export ANSIBLE_HOME ?= $(CURDIR)/.ansible
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# Why the lab cannot be used here; empty when it can.
LAB_MISSING = $(shell tests/lab/missing.sh)

## daily: run the daily runbook on the demo system on this machine; needs no server and no root
daily: $(VENV)/.run
	@$(BIN)/python -m opsrunner daily --system demo --fail-on none

## test: lint, sanity, unit tests and whole runs; on a machine with root and podman also roles and planted faults on real hosts
test: lint sanity test-unit test-old-python test-integration test-backups test-lab

## venv: the environment in .venv with everything that work on this project needs
venv: $(VENV)/.dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one with make PYTHON=...")'
	@$(PYTHON) -m venv $(VENV) || { echo "A virtual environment could not be made; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

# .run and .dev stand for what is installed in the environment.
$(VENV)/.run: requirements/run.txt | $(VENV)/bin/python
	@echo "Setting up $(VENV) with what the command needs"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/run.txt
	@echo "$(CURDIR)/src" > "$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/opsrunner.pth"
	@printf '#!/bin/sh\nexec "$$(dirname "$$(readlink -f "$$0")")/python" -m opsrunner "$$@"\n' > $(BIN)/opsrunner
	@chmod +x $(BIN)/opsrunner
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.run
	@echo "Setting up $(VENV) with what work on this project needs"
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@touch $@

## lint: ruff, mypy, the floors of the layout, command lines in the docs, yamllint, ansible-lint, role specifications and READMEs
lint: lint-python lint-layout lint-yaml lint-roles

lint-python: $(VENV)/.dev
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --diff --quiet .; exit 1; }
	@$(BIN)/mypy

lint-layout: $(VENV)/.dev
	@$(BIN)/python tests/lint/floors.py
	@$(BIN)/python tests/lint/commands.py

lint-yaml: $(VENV)/.dev
	@$(BIN)/yamllint --strict .
	@PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/ansible-lint --offline --profile production -q

lint-roles: $(VENV)/.dev
	@$(BIN)/python tests/lint/roles.py
	@$(BIN)/python tests/lint/variables.py
	@$(BIN)/python tests/lint/versions.py

## format: let ruff format and mend what it can
format: $(VENV)/.dev
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

## requirements: pin what is needed anew, with hashes; what is pinned stays where it fits (needs uv)
requirements:
	@uv pip compile -q --universal --python-version 3.11 $(COMPILE) requirements/run.in -o requirements/run.txt
	@uv pip compile -q --universal --python-version 3.11 $(COMPILE) requirements/dev.in -o requirements/dev.txt
	@uv pip compile -q --python-version 3.8 $(COMPILE) tests/unit/old_python.in -o tests/unit/old_python.txt

COMPILE := --generate-hashes --no-emit-index-url --custom-compile-command "make requirements"

## docs: write the tables of variables (roles' READMEs, docs/inventory.md) from their specifications
docs: $(VENV)/.dev
	@$(BIN)/python tests/lint/roles.py --write
	@$(BIN)/python tests/lint/variables.py --write

## sanity: ansible-test sanity on a copy of the collection
sanity: $(VENV)/.dev
	@mkdir -p .cache
	@tests/sanity/run.sh > .cache/sanity.log 2>&1 || { grep -E '^(ERROR|FATAL|See)' .cache/sanity.log || cat .cache/sanity.log; exit 1; }
	@echo "ansible-test sanity: $$(grep -c '^Running sanity test' .cache/sanity.log) tests passed"

## test-unit: unit tests
test-unit: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/unit -q -n $(WORKERS) --dist worksteal

## test-old-python: the part that runs on managed hosts, under the oldest Python they may have
test-old-python: $(VENV)/.dev
	@tests/unit/old_python.sh

## test-integration: whole runs on this machine: the command, records, packages, hostile input
test-integration: $(VENV)/.dev
	@$(BIN)/python -m pytest $(filter-out $(addprefix tests/integration/,backups faults recovery),$(wildcard tests/integration/*)) -q -n $(WORKERS) --dist worksteal

## test-backups: engines, sets, copies, restores against real databases and servers that the tests start; those not installed are left out
test-backups: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/integration/backups -q -n $(WORKERS) --dist loadfile

## test-slow: fuzz tests with many more examples than CI has time for
test-slow: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/slow tests/unit -q -n $(WORKERS) --dist worksteal --hypothesis-profile=slow

## test-lab: what needs real hosts; without root or podman it is left out, with STRICT=1 that fails
test-lab: $(VENV)/.dev
	@if [ -z "$(LAB_MISSING)" ]; then \
	  $(MAKE) molecule test-faults test-recovery; \
	elif [ "$${STRICT:-}" = 1 ]; then \
	  echo "The lab cannot be used: $(LAB_MISSING)" >&2; exit 1; \
	else \
	  echo "Left out: roles and planted faults on real hosts, because $(LAB_MISSING)"; \
	fi

## molecule: the roles on two systemd hosts
molecule: $(VENV)/.dev
	@tests/lab/molecule.sh

## molecule-other: the roles that change hosts, on another release of this distribution: make molecule-other LAB_RELEASE=trixie
molecule-other: $(VENV)/.dev
	@: "$${LAB_RELEASE:?name a release of this distribution, such as trixie}"
	@tests/lab/molecule.sh test -s tuning
	@tests/lab/molecule.sh test -s service_config

## test-faults: plant faults on the lab's hosts, one at a time, and expect exactly the right findings
test-faults: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/integration/faults -q

## test-recovery: back up, copy, drill, destroy and restore two systems on the lab's hosts
test-recovery: $(VENV)/.dev
	@$(BIN)/python -m pytest tests/integration/recovery -q

## bench-daily: the daily runbook on ten hosts against a shell script over plain ssh
bench-daily: $(VENV)/.dev
	@$(BIN)/python tests/bench/daily/bench.py

## bench-tune: the tune runbook when nothing is to change, against a module call per key
bench-tune: $(VENV)/.dev
	@$(BIN)/python tests/bench/tune/bench.py

## bench-probes: 200 endpoints in one health_probe call
bench-probes: $(VENV)/.dev
	@$(BIN)/python tests/bench/probes/bench.py

## bench-logs: log statistics against the runbooks' pipelines and other tools; the peers that are installed, duckdb where OPSRUNNER_BENCH_PYTHON has it
bench-logs: $(VENV)/.dev
	@$(BIN)/python tests/bench/logs/bench.py

## bench-backup: making and verifying a set against tar, restic and borg
bench-backup: $(VENV)/.dev
	@$(BIN)/python tests/bench/backup/bench.py

## bench-imports: what each module costs before it does any work
bench-imports: $(VENV)/.dev
	@$(BIN)/python tests/bench/imports/bench.py

## lab-up, lab-down: hosts of LogCaster and SimpleRS to try things on
lab-up:
	@tests/lab/hosts.py up .cache/lab/hosts logcaster1=logcaster logcaster2=logcaster batch1=simplers

lab-down:
	@tests/lab/hosts.py down .cache/lab/hosts

## clean: remove what was built; .venv and caches stay
clean:
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .cache/sanity/ansible_collections

help:
	@sed -n 's/^## //p' Makefile | sort

.PHONY: daily test venv lint lint-python lint-layout lint-yaml lint-roles format docs requirements sanity test-unit test-old-python test-integration test-backups test-recovery test-slow test-lab molecule molecule-other test-faults bench-daily bench-probes bench-logs bench-imports bench-tune lab-up lab-down clean help
