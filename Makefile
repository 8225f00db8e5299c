# `make demo`, `make start`, `make test`, `make bench`: each sets up what it needs.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
# Installs what is named into this folder, unless it is there: local/environments.
SETUP := $(PYTHON) -m local.environments
# What the tests run beside the service, what scans the deployment, and what the platform runs Python functions with.
TOOLS := openai-2 langchain agents-sdk llmock agentserver agent-framework-hosting litellm llama-stack
TOOLS += node-clients infra conformance
# The clients that take long to install. They are tested every night, and not by `make test`.
NIGHTLY := agno codex crewai dspy haystack instructor litellm llama-index pydantic-ai semantic-kernel strands-agents
NIGHTLY += node-clients
PYTEST := -n 4 --dist loadfile --no-loadscope-reorder
# The pure packages, of which every line and branch must run in their own tests.
PURE := core transitions contract

.PHONY: setup demo start test clients test-unit test-storage coverage conformance bytecode bench findings check fmt lock

setup:
	@$(SETUP) app

demo: setup
	@$(RUN) -m local demo $(if $(filter-out 0,$(STREAM)),--stream) $(if $(FILE),"$(FILE)")

start: setup
	@$(RUN) -m local start

test: check coverage
	@$(SETUP) $(TOOLS)
	$(RUN) -m pytest $(PYTEST) $(PURE:%=--ignore=tests/unit/%) --ignore=tests/nightly

# The clients of docs/clients.md that `make test` does not run, and the examples as their users install them.
clients: setup
	@$(SETUP) $(NIGHTLY:%=nightly-%)
	$(RUN) -m pytest tests/nightly

# The rules alone: no storage, no process of the service.
test-unit: setup
	$(RUN) -m pytest $(PYTEST) tests/unit

# The flows of the engine on real storage, in the test's own process, and attempts to break the README's invariants.
test-storage: setup
	$(RUN) -m pytest $(PYTEST) tests/storage tests/invariants

# The tests of the pure packages alone, and what of those packages they do not run. It must be nothing.
coverage: setup
	$(RUN) -m pytest $(PYTEST) $(PURE:%=tests/unit/%) $(PURE:%=--cov=shared.%)

conformance: setup
	@$(SETUP) conformance
	$(RUN) -m pytest tests/conformance

# What is deployed, with bytecode, in .package: for the Python that the app runs on, which must be here.
bytecode:
	@$(PYTHON) -m infra.hooks.bytecode

# BASE=COMMIT compares with a commit, and PEERS=1 with other systems. RUNS="burst kill" makes only those. SCALE=0.1 makes
# every count smaller. IN_FLIGHT=20000 AGED=300 are the responses in flight, and how old each is before they are watched.
bench: setup
	@$(RUN) -m local.bench $(if $(BASE),--base $(BASE)) $(if $(filter-out 0,$(PEERS)),--peers) $(if $(RUNS),--runs $(RUNS)) \
	  $(if $(ROUNDS),--rounds $(ROUNDS)) $(if $(SCALE),--scale $(SCALE)) \
	  $(if $(IN_FLIGHT),--in-flight $(IN_FLIGHT)) $(if $(AGED),--aged $(AGED))

# What public libraries do on valid input, without the service. No part of the tests. It says which of them has changed.
findings:
	@changed=; for one in findings/*.sh; do \
	  echo "== $$one"; PYTHON="$(PYTHON)" bash "$$one" || changed="$$changed $$one"; \
	done; \
	if [ -n "$$changed" ]; then echo "not as described:$$changed" >&2; exit 1; fi

check: setup
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

fmt: setup
	$(RUN) -m ruff check --fix .
	$(RUN) -m ruff format .

# Exact versions, with hashes, of what the .in files ask for, on every Python and system: as they are, unless a bound or
# UPGRADE=1 asks for others. What is deployed comes first, and the rest agrees with it.
lock: setup
	@set -e; export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	lock() { $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(if $(UPGRADE),--upgrade) "$$@"; }; \
	lock requirements.in --output-file requirements.txt; \
	lock requirements-agents.in --constraints requirements.txt --output-file requirements-agents.txt; \
	lock requirements-dev.in --constraints requirements.txt --constraints requirements-agents.txt --output-file requirements-dev.txt
