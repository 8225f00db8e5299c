# `make demo`, `make start`, `make test`, `make bench`: each sets up what it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Stands for an installation of exactly these requirements.
READY := $(VENV)/.requirements-installed
# What the tests run beside the service, each in an environment of its own, and the SDK for Node.
PEERS := openai-2 langchain agents-sdk llmock
CLIENTS := $(PEERS:%=$(VENV)/%/.requirements-installed) tests/clients/node_modules/.package-lock.json
# What checks the Bicep files: a grammar, a scanner, and the compiler's type data for the types they name.
BICEP := $(wildcard infra/*.bicep infra/modules/*.bicep)
INFRA := $(VENV)/infra/types.json

# What the platform runs Python functions with, in an environment of its own.
RUNTIME := $(VENV)/conformance/.requirements-installed

.PHONY: demo start test conformance bench check fmt lock

demo: $(READY)
	@$(RUN) -m local demo $(if $(filter-out 0,$(STREAM)),--stream) $(if $(FILE),"$(FILE)")

start: $(READY)
	@$(RUN) -m local start

test: check $(CLIENTS) $(INFRA) $(RUNTIME)
	$(RUN) -m pytest -n 3 --dist loadfile --no-loadscope-reorder

conformance: $(READY) $(RUNTIME)
	$(RUN) -m pytest tests/conformance

bench: $(READY)
	@$(RUN) -m local.bench

check: $(READY)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

fmt: $(READY)
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Exact versions, with hashes, of what the .in files ask for, on every Python and system: as they are, unless a bound or
# UPGRADE=1 asks for others. What is deployed comes first, and the rest agrees with it.
lock: $(READY)
	@set -e; export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	lock() { $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) "$$@"; }; \
	lock requirements.in --output-file requirements.txt; \
	lock requirements-agents.in --constraints requirements.txt --output-file requirements-agents.txt; \
	lock requirements-dev.in --constraints requirements.txt --constraints requirements-agents.txt --output-file requirements-dev.txt

$(READY): requirements.txt requirements-agents.txt requirements-dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed, this is " + sys.version.split()[0] + ": try make PYTHON=python3.12")'
	@echo "setting up $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(RUN) -m pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	@touch $@

$(VENV)/%/.requirements-installed: tests/clients/%.txt $(READY)
	@echo "setting up $(VENV)/$*"
	@$(RUN) -m venv --clear $(VENV)/$*
	@$(VENV)/$*/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)/infra/.requirements-installed: tests/infra/requirements.txt $(READY)
	@echo "setting up $(VENV)/infra"
	@$(RUN) -m venv --clear $(VENV)/infra
	@$(VENV)/infra/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(INFRA): $(VENV)/infra/.requirements-installed $(BICEP)
	@$(VENV)/infra/bin/python tests/infra/fetching.py $@ $(BICEP)
	@touch $@

# Without a Python 3.13 these tests are skipped, or in CI fail.
$(RUNTIME): tests/conformance/requirements.txt requirements.txt
	@for python in python3.13 "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/3.13*/bin/python3.13; do \
		if "$$python" -c "" 2>/dev/null; then \
			echo "setting up $(VENV)/conformance"; \
			"$$python" -m venv --clear $(VENV)/conformance && \
			$(VENV)/conformance/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && touch $@; \
			exit; \
		fi; \
	done; echo "no Python 3.13 for $(VENV)/conformance"

# Without npm the tests of this SDK are skipped, or in CI fail. The SDK asks for Node 22; the tests show it at work on 20.
tests/clients/node_modules/.package-lock.json: tests/clients/package-lock.json
	@if command -v npm >/dev/null; then cd tests/clients && npm ci --no-audit --no-fund --loglevel=error && touch node_modules/.package-lock.json; fi
