# Everything here begins by making .venv from the hashed lock file; a second run finds it made.
#   make demo ARGS="--only errors"     make test     make check     make lock     make clean
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test check types units thorough bench sim sim-protocol prove sbom lock clean

# The interpreter that .venv is made with: PYTHON=... or the first of these that is 3.11 or later.
PYTHON ?=
PYTHONS := $(PYTHON) python3.11 python3.12 python3.13 python3
BIN := .venv/bin
READY := .venv/.ready
CODE := schemas streams agents tests
# One process more than there are cores, for some tests wait.
EVERY_CORE := --numprocesses $(shell expr $$(nproc) + 1) --maxprocesses 8 --dist worksteal
# On real Kafka tests wait more than they work, whole systems a little: each process with a broker of its own.
THREE_FILES := --numprocesses 3 --dist loadfile
TWO_FILES := --numprocesses 2 --dist loadfile
ARGS ?=

# Run the tests of a mark, with options; leave build/<name>.json, also when some fail.
# Many tests run real processes. What fails runs once more, alone and in sight: a starved machine passes then, a bug does not.
tests = code=0; $(BIN)/pytest -q -m $(2) $(3) --junit-xml=build/$(1).xml || code=$$?; \
	$(BIN)/python tests/report.py build/$(1).xml build/$(1).json; \
	if [ $$code = 1 ]; then echo "once more, what failed:"; code=0; \
	$(BIN)/pytest -q -m $(2) --last-failed --last-failed-no-failures none --junit-xml=build/$(1)-again.xml || code=$$?; fi; exit $$code

help:
	@echo "make demo    twelve real servers, real Kafka, three releases (ARGS=\"--only good|errors|slow|flag --repeat N --json\")"
	@echo "make test    everything, on real parts"
	@echo "make check   format, lint, types, layers, fast tests on every core; six minutes on two"
	@echo "make thorough  tests that take longer than the suite has time for, and long searches for examples"
	@echo "make bench   speed beside a stock Faust agent, in one run on real Kafka -> build/bench.json"
	@echo "make sim     the judgement and its rivals on 60 healthy hours of simulated fleets, and under faults -> build/sim.json"
	@echo "make sim-protocol  deciders and nodes in simulated worlds under every fault -> build/sim-protocol.json"
	@echo "make prove   the long proofs, minutes each (ARGS=\"--only NAME\") -> docs/proofs/"
	@echo "make sbom    what the image has in it, as CycloneDX, and whether its licences allow ours -> build/sbom.json"
	@echo "make lock    resolve the dependencies of pyproject.toml anew into requirements.lock and deploy/ (needs uv)"
	@echo "make clean   remove build/ and the caches; .venv stays"

demo: $(READY)
	@$(BIN)/tidegate demo $(ARGS)

test: check
	@mkdir -p build
	$(call tests,kafka,"kafka and not scenario and not thorough",$(THREE_FILES))
	$(call tests,test,"scenario and not thorough",$(TWO_FILES))

check: $(READY)
	@mkdir -p build
	$(BIN)/ruff format --check --quiet $(CODE)
	$(BIN)/ruff check --quiet $(CODE)
	@$(MAKE) --no-print-directory --jobs 2 types units

types: $(READY)
	$(BIN)/mypy --no-error-summary
	@mkdir -p build
	$(BIN)/lint-imports --no-logo > build/layers.txt || { cat build/layers.txt; exit 1; }

units: $(READY)
	@mkdir -p build
	$(call tests,check,"not kafka and not scenario and not thorough",$(EVERY_CORE))

thorough: $(READY)
	@mkdir -p build
	$(call tests,thorough,"thorough")
	$(BIN)/pytest -q -m "not kafka and not scenario and not thorough" $(EVERY_CORE) --hypothesis-profile long

bench: $(READY)
	@PYTHONPATH=. $(BIN)/python -m tests.bench $(ARGS)

sim: $(READY)
	@PYTHONPATH=. $(BIN)/python -m tests.bench.judgement $(ARGS)

sim-protocol: $(READY)
	@PYTHONPATH=. $(BIN)/python -m tests.bench.protocol $(ARGS)

prove: $(READY)
	@PYTHONPATH=. $(BIN)/python -m tests.prove $(ARGS)

# All that is developed with; of it what the image runs (the extra people has every role in it), and what its wheel is made with.
lock:
	@uv=$$(command -v $(BIN)/uv uv | head -n 1); \
	[ -n "$$uv" ] || { echo "make lock: uv is missing; install it with: $(BIN)/pip install uv" >&2; exit 1; }; \
	compile="$$uv pip compile --quiet --generate-hashes --universal --python-version 3.11 \
		--no-header --no-annotate --no-emit-index-url --no-emit-find-links"; \
	$$compile --upgrade --extra quickstart --extra people --group dev pyproject.toml --output-file requirements.lock > /dev/null; \
	$$compile --constraint requirements.lock --extra people pyproject.toml --output-file deploy/requirements.lock > /dev/null; \
	$$compile --constraint requirements.lock --group build --output-file deploy/build.lock > /dev/null

# What the image runs with, as it gets it: for the list of it, and the licences of all of it.
build/runtime/.ready: deploy/requirements.lock
	@rm -rf build/runtime
	@$(BIN)/python -m venv --without-pip build/runtime
	@$(BIN)/python -m pip --python build/runtime/bin/python install --quiet --disable-pip-version-check --require-hashes --requirement $<
	@touch $@

sbom: $(READY) build/runtime/.ready
	@build/runtime/bin/python tests/deploy/licences.py > build/licences.txt
	@$(BIN)/cyclonedx-py environment build/runtime/bin/python --pyproject pyproject.toml --mc-type application --output-reproducible \
		--of JSON --output-file build/sbom.json
	@echo "$$(wc -l < build/licences.txt) packages, every licence allowed (build/licences.txt); CycloneDX: build/sbom.json"

clean:
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

# --require-hashes holds for every package; ours follows without dependencies, as a link to this folder.
$(READY): requirements.lock pyproject.toml
	@mkdir -p build
	@if [ ! -x $(BIN)/python ]; then \
		for python in $(PYTHONS); do \
			if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null; then found=$$python; break; fi; \
		done; \
		[ -n "$${found:-}" ] || { \
			echo "make: Tidegate needs Python 3.11 or later; found: $$(python3 --version 2>&1 || true)" >&2; \
			echo "      install it (Debian, Ubuntu: apt install python3 python3-venv) or name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }; \
		$$found -c 'import ensurepip, venv' 2> /dev/null || { \
			echo "make: $$found cannot make virtual environments: its venv module is missing" >&2; \
			echo "      install it (Debian, Ubuntu: apt install python3-venv)" >&2; exit 1; }; \
		echo "making .venv with $$($$found --version) from requirements.lock (once; about a minute)"; \
		$$found -m venv .venv; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)
