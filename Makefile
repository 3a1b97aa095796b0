# Two commands do everything: `make lab` and `make test`. Works with GNU make 3.81 (macOS) and newer.

BIN := .venv/bin
LESSONS := $(wildcard lessons/*.ipynb)

# The first Python that is new enough and can make environments; choose another with `make lab PYTHON=...`.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)

.PHONY: help lab test test-browser test-gpu test-install site check lint lessons clean
.DEFAULT_GOAL := help

help:
	@echo "make lab          open the lessons in JupyterLab (makes the environment first, if need be)"
	@echo "make test         run every check, every test and every lesson"
	@echo "make test-browser look at the lessons in JupyterLab with a real browser (needs Chromium)"
	@echo "make test-gpu     run the tests that need NVIDIA GPUs; the others don't look at them"
	@echo "make test-install  build the environments of Binder and Colab, from an index"
	@echo "make site         build the web site, from stored outputs (build/site/index.html)"
	@echo "make check        the quick part of it: style, types, imports, fast tests"
	@echo "make lessons      run the lessons again and store their outputs"
	@echo "make clean        remove the environment and all caches"

# The stamp is written last, so an installation that was cut short is taken up again.
.venv/ready: pyproject.toml constraints.txt install.sh binder/overrides.json
	@test -n "$(PYTHON)" || { echo "The course needs Python 3.11 or newer with its venv module, and found none" \
		"(Debian, Ubuntu: apt install python3-venv; macOS: brew install python@3.13)." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	./install.sh $(BIN)/python -e '.[dev,export,grading,site]'
	@touch $@

lab: .venv/ready
	$(BIN)/course lab

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

check: lint
	$(BIN)/pytest -q -m "not slow and not browser and not network"

# One lesson at a time: two trainings on two cores hinder each other and take several times as long.
# conftest.py blocks the network for all of it.
test: lint
	./install.sh $(BIN)/python -e '.[dev,export,grading,site,trackers]'
	$(BIN)/pytest tests/ -m "not browser and not network"
ifneq ($(LESSONS),)
	$(BIN)/pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 --timeout=600 $(LESSONS)
endif

test-gpu: .venv/ready
	$(BIN)/pytest -m gpu tests/

test-browser: .venv/ready
	./install.sh $(BIN)/python -e '.[dev,export,grading,browser,site,trackers]'
	$(BIN)/pytest tests/browser

# What builds environments from an index, as Binder and Colab do: minutes of downloads.
test-install: .venv/ready
	$(BIN)/pytest tests/ -m network

site: .venv/ready
	./install.sh $(BIN)/python -e '.[dev,export,grading,site]'
	$(BIN)/python site/build.py

lessons: .venv/ready
	$(BIN)/python -m course_lib.notebook.publish $(LESSONS)

clean:
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache build dist
	find course_lib lessons tests -name __pycache__ -o -name .ipynb_checkpoints | xargs rm -rf
