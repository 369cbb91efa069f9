# Each target does its own set-up, once: a virtual environment with the versions of constraints.txt.
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-fast test-slurm lint check clean
help:
	@echo "make demo       train and evaluate a bridge between two small real models"
	@echo "make test       all tests; make test-fast: those without the real models"
	@echo "make test-slurm a user's day on a SLURM cluster of one node; needs root"
	@echo "make check      lint, types and all tests; CI runs test-slurm, too"
	@echo "make clean      remove the virtual environment (caches and runs stay)"

$(READY): pyproject.toml constraints.txt requirements-embedded.txt scripts/setup.sh
	@./scripts/setup.sh $(VENV)

demo: $(READY)
	@$(BIN)/latentwire demo $(ARGS)

test: $(READY)
	@$(BIN)/python -m pytest $(ARGS)

test-fast: $(READY)
	@$(BIN)/python -m pytest -m "not real and not slurm" $(ARGS)

test-slurm: $(READY)
	@./scripts/test_slurm.sh $(BIN)/python $(ARGS)

lint: $(READY)
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

check: lint test

clean:
	rm -rf $(VENV)
