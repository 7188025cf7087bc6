# Everything runs in .venv, which is made on first use and brought up to date when the pins change.
.DEFAULT_GOAL := help
.PHONY: help demo test lint types bench bench-check adapters audit clean

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
ADAPTERS := .venv-adapters
AUDIT := build/audit
export OMP_NUM_THREADS := 1

help: ## Say what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Run scenarios/quickstart.yaml and say where the report is (under 90 s on 2 cores).
	$(BIN)/pushback run scenarios/quickstart.yaml
	@echo "Open the report: $$(ls -t results/quickstart/*/report.html | head -n 1)"

test: $(INSTALLED) ## Run the fast test suite on 2 cores.
	$(BIN)/python -m pytest -n 2

lint: $(INSTALLED) ## Check style and formatting.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED) ## Check types, strictly.
	$(BIN)/mypy

bench: $(INSTALLED) ## Measure speed and memory: an hour or more.
	@set -e; for file in $(filter-out benchmarks/history.py benchmarks/check.py, $(wildcard benchmarks/*.py)); do \
		echo "$$file"; $(BIN)/python "$$file"; done

bench-check: $(INSTALLED) ## Compare the ratios of small benchmarks with benchmarks/baseline.json (some 3 minutes).
	$(BIN)/python benchmarks/check.py

adapters: $(ADAPTERS)/.installed ## Test the models of other libraries, in .venv-adapters.
	$(ADAPTERS)/bin/python -m pytest tests/recommenders/adapters/test_adapters.py tests/recommenders/test_registry.py
	$(ADAPTERS)/bin/pushback validate scenarios/adapters.yaml

audit: $(AUDIT) ## Look the pinned packages up among the known vulnerabilities (needs pypi.org).
	$(AUDIT)/bin/pip-audit --strict --no-deps --disable-pip -r constraints.txt

clean: ## Remove the environment, builds and caches; results stay.
	rm -rf .venv .venv-adapters build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# RecTools without its dependencies, which the extra has brought: its metadata refuses NumPy 2 before Python 3.13.
$(ADAPTERS)/.installed: pyproject.toml constraints-adapters.txt
	$(PYTHON) -m venv $(ADAPTERS)
	$(ADAPTERS)/bin/python -m pip install -q --disable-pip-version-check -c constraints-adapters.txt \
		-e '.[testing,implicit,lenskit,rectools]'
	$(ADAPTERS)/bin/python -m pip install -q --disable-pip-version-check -c constraints-adapters.txt --no-deps rectools
	@touch $@

$(AUDIT):
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install -q --disable-pip-version-check pip-audit==2.10.1 || { rm -rf $@; exit 1; }
