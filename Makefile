# Every target sets up what it needs; the Python environment lives outside the checkout.
PYTHON ?= python3
BIN = $$(PYTHON="$(PYTHON)" scripts/venv)/bin
export PYTHON
# Tests start hundreds of processes of Python, and pods that cannot write to the packages that they
# mount. Where this is set, each of them compiles all that it imports: of Prefect, for seconds.
unexport PYTHONDONTWRITEBYTECODE
# The number of processes that run the tests, each with its own Kubernetes.
JOBS ?= 1
# Distribute whole files, since the tests of a file share an operator. Sorting by the number of tests
# would start the longest files last.
SIDE_BY_SIDE = $(if $(filter-out 1,$(JOBS)),--numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder)
# These tests check what all other tests have done, so they run after them, in one process.
AFTERWARDS = tests/operator/test_rights_used.py

.DEFAULT_GOAL := help
.PHONY: help run test test-oldest test-orchestrators check docs docs-links lint types contracts format crds fields recording benchmarks why bugs crash \
	clean cluster cluster-env cluster-down cluster-tools

help: ## List all targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: ## Run a real job on this machine: Python's own source files, counted on several workers
	@bin=$(BIN) && name=census-$$$$ && \
	"$$bin/daskjob" run --python "$$bin/python" --name $$name examples/stdlib_census/census.py --top 10 && \
	echo && "$$bin/daskjob" report $$name

test: ## Run all tests, or those in ARGS; JOBS=2 uses two processes
ifeq ($(strip $(ARGS)),)
	@bin=$(BIN) && export DASKJOB_TEST_AUDIT="$$(mktemp -d)" && \
	trap 'rm -rf "$$DASKJOB_TEST_AUDIT"' EXIT && \
	failed=0; \
	"$$bin/python" -m pytest $(SIDE_BY_SIDE) --ignore=$(AFTERWARDS) --ignore=tests/orchestrators || failed=1; \
	"$$bin/python" -m pytest $(AFTERWARDS) && exit $$failed
else
	@bin=$(BIN) && "$$bin/python" -m pytest $(SIDE_BY_SIDE) $(ARGS)
endif

test-oldest: ## Run the tests of what runs inside Dask on the oldest supported distributed
	@bin=$$(PYTHON="$(PYTHON)" scripts/venv dask==2024.1.0 distributed==2024.1.0)/bin && \
	"$$bin/python" -m pytest $(SIDE_BY_SIDE) tests/agent tests/cli/test_run_own_cluster.py \
		tests/classic/test_scheduler_lease.py \
		tests/cli/test_run_inheritance.py tests/cli/test_scheduler_ended.py \
		tests/local/test_scheduler_launcher.py $(ARGS)

test-orchestrators: ## Run the tests with Airflow, Prefect and Dagster, each in an environment of its own
	@bin=$(BIN) && "$$bin/python" -m tests.orchestrators $(ARGS)

why: ## Produce every cause of docs/why.md on a cluster, and write its table from the answers
	@bin=$(BIN) && DASKJOB_WRITE_WHY=1 "$$bin/python" -m pytest tests/why $(ARGS)

bugs: ## Produce the mistakes of dask-kubernetes, and write what was seen into docs/howto/fixed-bugs.md
	@bin=$(BIN) && DASKJOB_WRITE_BUGS=1 "$$bin/python" -m pytest tests/kubecluster/test_bugs_of_dask_kubernetes.py $(ARGS)

crash: ## Kill the operator before and after each of its writes ("make test" runs a sample)
	@bin=$(BIN) && DASKJOB_CRASH_POINTS=all "$$bin/python" -m pytest tests/crash $(ARGS)

check: lint types contracts test ## Run everything that must be green: style, types, imports, tests

lint: ## Check format and style
	@bin=$(BIN) && "$$bin/ruff" format --check . && "$$bin/ruff" check .

types: ## Check types
	@bin=$(BIN) && "$$bin/mypy"

contracts: ## Check the rules for imports
	@bin=$(BIN) && "$$bin/lint-imports"

docs: ## Build the documentation in docs/_build/html, warnings are errors ("make test" does so too)
	@bin=$(BIN) && "$$bin/python" -m sphinx --builder html --fail-on-warning --keep-going --quiet \
		docs docs/_build/html && echo "docs/_build/html/index.html"

docs-links: ## Check the links of the documentation to other sites
	@bin=$(BIN) && "$$bin/python" -m sphinx --builder linkcheck --quiet docs docs/_build/links

format: ## Format the code and fix what can be fixed automatically
	@bin=$(BIN) && "$$bin/ruff" format . && "$$bin/ruff" check --fix .

crds: ## Generate the chart's CustomResourceDefinitions from daskjob/core
	@bin=$(BIN) && "$$bin/python" scripts/crds.py

fields: ## Generate the table of Kubernetes' own fields from its OpenAPI document (needs Go)
	@bin=$(BIN) && "$$bin/python" scripts/kubernetes_fields.py

recording: ## Record `daskjob run` on a terminal for README: docs/run.cast and docs/run.svg
	@bin=$(BIN) && "$$bin/python" scripts/recording.py

benchmarks: ## Measure daskjob against its peers in the same run, and print the ratios
	@bin=$(BIN) && for file in benchmarks/[a-z]*.py; do echo "== $$file" && "$$bin/python" $$file || exit; done

cluster: ## Start a real Kubernetes on this machine, to experiment with
	@bin=$(BIN) && "$$bin/python" -m tests.cluster up

cluster-env: ## Print its environment for a shell: eval "$$(make cluster-env)"
	@bin=$(BIN) && "$$bin/python" -m tests.cluster env

cluster-down: ## Stop it and remove everything of it
	@bin=$(BIN) && "$$bin/python" -m tests.cluster down

cluster-tools: ## Build Kubernetes and the images that clusters need (once: 13 minutes)
	@bin=$(BIN) && "$$bin/python" -m tests.cluster tools

clean: ## Remove the Python environment and the files that tools left in the checkout
	rm -rf "$$(PYTHON="$(PYTHON)" scripts/venv)" .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .test-reports
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
