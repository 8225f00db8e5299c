# `make demo`, `make start`, `make test`, `make bench`: each sets up what it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Stands for an installation of exactly these requirements.
READY := $(VENV)/.requirements-installed

.PHONY: demo start test bench check fmt

demo: $(READY)
	@$(RUN) -m local demo $(if $(FILE),"$(FILE)")

start: $(READY)
	@$(RUN) -m local start

test: check
	$(RUN) -m pytest

bench: $(READY)
	@$(RUN) -m local.bench

check: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

fmt: $(READY)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

$(READY): requirements.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@
