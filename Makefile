# `make help` lists the targets. Set PYTHON to choose an interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
TABLES := table-learning-rates table-fsn-enwik8 table-fsn-code table-fsn-scale table-fsn-ablation table-fsn-local table-fsn-text27 table-ssa-lm table-ssa-ablation table-lm-tokens table-ssa-mt table-ssa-synchrony table-ssa-cost table-recall
FIGURES := figure-copy-depth figure-coupling
# PROFILE: train what is missing first. DATA, DATA_PATH, DATA_NAME: another corpus. ARGS: more key=value of every run, as
# words of a shell; only where it is typed, because it is the one variable that a shell reads.
GIVEN = $(if $(PROFILE),"profile=$$PROFILE") $(if $(DATA),"data=$$DATA") $(if $(DATA_PATH),"data.path=$$DATA_PATH") $(if $(DATA_NAME),"data.name=$$DATA_NAME") $(if $(filter command,$(origin ARGS)),$(ARGS))
VARIABLES := PROFILE DATA DATA_PATH DATA_NAME DIR HOURS DRY ARGS PYTHON VENV
# What was typed as NAME=VALUE; make writes a space within a value as backslash and space.
EMPTY :=
ESCAPED := \$(EMPTY) $(EMPTY)
MISTYPED := $(filter-out $(VARIABLES),$(foreach word,$(subst $(ESCAPED),,$(MAKEOVERRIDES)),$(firstword $(subst =, ,$(word)))))
ifneq ($(MISTYPED),)
$(error there is no variable $(MISTYPED); legal are $(VARIABLES))
endif
# Through the environment and as typed: a path may hold quotes, spaces, dollars.
# Only what is typed: what another job left in the environment decides nothing.
typed = $(if $(filter command,$(origin $(1))),$(value $(1)))
override export PROFILE := $(call typed,PROFILE)
override export DATA := $(call typed,DATA)
override export DATA_PATH := $(call typed,DATA_PATH)
override export DATA_NAME := $(call typed,DATA_NAME)
override export HOURS := $(call typed,HOURS)
override export DRY := $(call typed,DRY)
override export DIR := $(or $(call typed,DIR),runs)

.PHONY: help setup demo test check lock audit fuzz bench gpu scaling status clean tables claims report $(TABLES) $(FIGURES)

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

# Made again only when the dependencies change. Files whose hash is not in hashes.txt are refused; torch is without hashes,
# because each CUDA build of it has its own. Editable, so that the sources in this folder are what runs.
$(VENV)/installed: pyproject.toml constraints.txt hashes.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; type make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@! test -L $(VENV) || { echo "error: $(VENV) is a link, perhaps to the environment of another checkout; remove it, or if that folder is this checkout's own type make VENV=$$(readlink -f $(VENV)) $(MAKECMDGOALS)" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a few minutes)"
	@$(PIP) --no-deps --require-hashes --requirement hashes.txt
	@$(PIP) --constraint constraints.txt torch
	@$(PIP) --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

setup: $(VENV)/installed ## create .venv and install everything into it
	@echo "ready: $(BIN)/python train.py model=fsn scale=1m   (or: . $(BIN)/activate)"

demo: $(VENV)/installed ## train three small models on real code, a few minutes on two cores; table, figure, samples
	@$(BIN)/python -m results.demo

test: $(VENV)/installed ## run every test
	@$(BIN)/python -m pytest -n 2 --dist worksteal

check: $(VENV)/installed ## formatting, lint and types
	@$(BIN)/ruff format --check --quiet . || { echo "type $(BIN)/ruff format ." >&2; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy

lock: ## write hashes.txt anew, from constraints.txt; needs uv (pip install uv)
	@uv --no-config pip compile --quiet --universal --python-version 3.11 --no-deps --generate-hashes --no-annotate --no-emit-package torch --custom-compile-command "make lock" --output-file hashes.txt constraints.txt >/dev/null

audit: $(VENV)/installed ## whether what is installed is what constraints.txt locks: versions, files, known vulnerabilities
	@$(BIN)/python -m results.audit

fuzz: $(VENV)/installed ## 100,000 damaged and malicious files and command lines to their readers, drawn anew each time; an hour
	@SYNCHRONY_FUZZ=100 $(BIN)/python -m pytest --timeout=0 tests/fuzz

bench: $(VENV)/installed ## time a training step of each model, alternating, in one process
	@$(BIN)/python bench.py

scaling: $(VENV)/installed ## docs/scaling.md and its figure, from the committed measurement of bench.py task=scaling
	@$(BIN)/python -m results.scaling

# What is there is not made again, so it may be stopped anywhere and typed again. Another corpus: as for the tables below.
gpu: $(VENV)/installed ## what needs an NVIDIA GPU: tests, timings, 30 epochs of transformer and fsn; HOURS=1.5 ends it in time, DRY=1 tries it on the CPU
	@$(BIN)/python -m results.gpu $(if $(HOURS),"hours=$$HOURS") $(if $(DRY),"dry=$$DRY") $(GIVEN)

status: $(VENV)/installed ## how every run below DIR (runs) is: running, dead, failed, interrupted, done; time left
	@$(BIN)/python -m results.status -- "$$DIR"

# Each of these, alone: from the committed records, into docs/tables. With PROFILE=smoke, cpu or paper: trains first what that
# profile lacks, into runs/tables. On another corpus: DATA=text DATA_PATH=FILE DATA_NAME=NAME.
table-learning-rates: ## the learning rate of each model
table-fsn-enwik8: ## FSN and its rivals at every checkpoint; PROFILE=smoke|cpu|paper trains what is missing first
table-fsn-code: ## the same on source code
table-fsn-scale: ## loss against parameters
table-fsn-ablation: ## FSN, one change at a time
table-fsn-local: ## FSN with local coupling and a copying head, the transformer with the same help
table-fsn-text27: ## FSN and its rivals at every epoch, 100,000 parameters on 27 letters
table-ssa-lm: ## OSN as a language model
table-ssa-ablation: ## OSN, one change at a time
table-lm-tokens: ## language models on tokens of BPE, also on a text of another corpus
table-ssa-mt: ## OSN in translation
table-ssa-synchrony: ## diversity of heads, share of active pairs
table-ssa-cost: ## throughput, memory and FLOPs of attention layers against length; PROFILE measures them
table-recall: ## accuracy and loss of recall of synthetic strings, by kind, against steps and length
figure-copy-depth: ## loss by the length of the longest earlier match
figure-coupling: ## the coupling functions that an FSN learns
$(TABLES) $(FIGURES): $(VENV)/installed
	@$(BIN)/python -m results.target $@ $(GIVEN)

tables: $(VENV)/installed ## all tables and figures, from the committed records, into docs/tables
	@$(BIN)/python -m results.all_tables

claims: $(VENV)/installed ## what the papers claim beside what our records say: reproduced, not reproduced, inconclusive, not run, not comparable
	@$(BIN)/python -m results.claims

report: $(VENV)/installed ## all of them on one page, docs/report.html, with how each number was made
	@$(BIN)/python -m results.report

.DEFAULT:
	@echo "error: there is no target $@; make help lists them" >&2; exit 2

clean: ## remove the caches of tools; runs and .venv stay
	@rm -rf .pytest_cache .mypy_cache .ruff_cache
	@find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
