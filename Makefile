# `make` lists the targets. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
NO_PYTHON := Python 3.11 to 3.13 is needed, and there is no $(PYTHON) here: install it, or try make PYTHON=python3.12
# Installs what is named into this folder, unless it is there: local/environments.
SETUP := $(PYTHON) -m local.environments
# What the tests run beside the service, what scans the deployment, and what the platform runs Python functions with.
TOOLS := openai-2 langchain agents-sdk llmock agentserver agent-framework-hosting litellm llama-stack
TOOLS += schemathesis node-clients infra kusto kusto-language conformance browser axe
# The clients that take long to install. They are tested every night, and not by `make test`.
NIGHTLY := agno codex crewai dspy haystack instructor litellm llama-index pydantic-ai semantic-kernel strands-agents
NIGHTLY += node-clients
PYTEST := -n 4 --dist loadfile --no-loadscope-reorder
# The pure packages, of which every line and branch must run in their own tests.
PURE := core transitions contract

.DEFAULT_GOAL := help
.PHONY: help setup storage demo start test clients test-unit test-storage model coverage conformance screenshots package bench chaos findings check fmt lock

help: ## this list
	@echo "Background Responses. Start with: make demo"; echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo; echo "Python: PYTHON=python3.12. Without make: $(PYTHON) -m local.environments app && $(RUN) -m local start"

setup: ## install what the other targets need into .venv
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@$(SETUP) app

# The same, for targets that start the storage emulator. It says first what this machine lacks for that.
storage:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "$(NO_PYTHON)" >&2; exit 1; }
	@$(SETUP) --storage app

demo: storage ## show one background response, end to end. STREAM=1, FILE=notes.txt, MODEL=sim-2s
	@$(RUN) -m local demo $(if $(filter-out 0,$(STREAM)),--stream) $(if $(FILE),"$(FILE)")

start: storage ## serve on this machine until Ctrl-C. PORT=7071, AZURITE_DIR=folder keeps the data
	@$(RUN) -m local start

test: storage check coverage ## lint, types and all tests, as CI runs them: 35 minutes
	@$(SETUP) $(TOOLS)
	$(RUN) -m pytest $(PYTEST) $(PURE:%=--ignore=tests/unit/%) --ignore=tests/nightly

# The clients of docs/clients.md that `make test` does not run, and the examples as their users install them.
clients: storage ## test the clients that take long to install: 15 minutes
	@$(SETUP) $(NIGHTLY:%=nightly-%)
	$(RUN) -m pytest tests/nightly

# The rules alone: no storage, no process of the service.
test-unit: setup ## test the rules: no storage, no process
	$(RUN) -m pytest $(PYTEST) tests/unit

# The flows of the engine on real storage, in the test's own process, and attempts to break the README's invariants.
test-storage: storage ## test the flows on Azurite, and the invariants
	$(RUN) -m pytest $(PYTEST) tests/storage tests/invariants

# The tests of the pure packages alone, and what of those packages they do not run. It must be nothing.
coverage: setup ## test that every line and branch of the pure packages runs
	$(RUN) -m pytest $(PYTEST) $(PURE:%=tests/unit/%) $(PURE:%=--cov=shared.%)

# Searches the model of the core for a run that violates an invariant. EXAMPLES=1000 are the runs, and SEED=7 repeats a
# search. MUTANTS=1 hunts the planted faults instead.
model: setup ## search the model of the engine for faults. EXAMPLES=1000, SEED=7, MUTANTS=1
	$(RUN) -m $(if $(filter-out 0,$(MUTANTS)),tests.model.mutants,tests.model.search) \
	  $(if $(EXAMPLES),--examples $(EXAMPLES)) $(if $(SEED),--seed $(SEED))

conformance: storage ## test the app in Microsoft's runtime library
	@$(SETUP) conformance
	$(RUN) -m pytest tests/conformance

# The pictures of the console in docs/images, from a real browser. Look at them before you commit them.
screenshots: storage ## take the pictures of the console in docs/images
	@$(SETUP) browser
	$(RUN) -m tests.browser.screenshots

# What is deployed, in .package: with libraries, and bytecode of the Python that the app runs on, which must be here.
package: ## make the package of a deployment in .package
	@$(PYTHON) -m infra.hooks.prepackage

# BASE=COMMIT compares with a commit, and PEERS=1 with other systems. RUNS="burst kill" makes only those. SCALE=0.1 makes
# every count smaller. IN_FLIGHT=20000 AGED=300 are the responses in flight, and how old each is before they are watched.
bench: storage ## measure, and print the figures of docs/figures.md: 20 minutes
	@$(RUN) -m local.bench $(if $(BASE),--base $(BASE)) $(if $(filter-out 0,$(PEERS)),--peers) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE)) \
	  $(if $(IN_FLIGHT),--in-flight $(IN_FLIGHT)) $(if $(AGED),--aged $(AGED))

# Three hosts under load while everything around them fails, and an audit from outside. MINUTES=10 and SEED=NUMBER choose
# the run. SELFTEST=1 plants faults in copies of the app, one at a time, and says whether the audit finds each.
chaos: storage ## let everything fail under load, and audit. MINUTES=10, SEED=7, SELFTEST=1
	@$(RUN) -m local.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
	  $(if $(filter-out 0,$(SELFTEST)),--selftest)

# What public libraries do on valid input, without the service. No part of the tests. It says which of them has changed.
findings: ## show where public libraries surprise, without the service
	@changed=; for one in findings/*.sh; do \
	  echo "== $$one"; PYTHON="$(PYTHON)" bash "$$one" || changed="$$changed $$one"; \
	done; \
	if [ -n "$$changed" ]; then echo "not as described:$$changed" >&2; exit 1; fi

check: setup ## run ruff and mypy
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

fmt: setup ## format
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Exact versions, with hashes, of what the .in files ask for, on every Python and system: as they are, unless a bound or
# UPGRADE=1 asks for others. What is deployed comes first, and the rest agrees with it.
lock: setup ## lock the exact requirements of the .in files. UPGRADE=1
	@set -e; export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	lock() { $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) "$$@"; }; \
	lock requirements.in --output-file requirements.txt; \
	lock requirements-agents.in --constraints requirements.txt --output-file requirements-agents.txt; \
	lock requirements-dev.in --constraints requirements.txt --constraints requirements-agents.txt --output-file requirements-dev.txt
