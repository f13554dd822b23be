# The database of TherapyFlow AI + BioSync, and sqlmig, which runs its SQL files. Nothing need be installed first.

PYTHON ?= python3
DATABASE_URL ?= embedded:.postgres
JOBS ?= 4
export DATABASE_URL

# What Supabase provides, for a private server and for scratch databases: so that the policies can be tried.
SETUP := sql/setup/supabase.sql
SET_UP = PGOPTIONS='-c client_min_messages=warning' $(BIN)/python -m sqlmig.embedded psql -qX -v ON_ERROR_STOP=1 -f $(SETUP)

# Tests of the core that need few databases.
QUICK := $(addprefix tests/core/test_,up_and_down.py plan.py migrations.py lexer_and_sqlfile.py \
	transaction_and_failure.py imports_go_one_way.py hints.py)

BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help up down status check drift psql docs messages mermaid test quick citus soak bench lint clean

help: ## Show these targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/make \1	\2/p' Makefile | expand -t 16
	@echo
	@echo 'They use the database that DATABASE_URL names, or else a private PostgreSQL server in .postgres.'
	@echo 'This database: sql/GUIDE.md. The tool, for your own SQL files: sqlmig/README.md.'

up: $(READY) ## Apply the migrations to the database
	@case "$$DATABASE_URL" in embedded:*) $(SET_UP) ;; esac
	@$(BIN)/python -m sqlmig up
	@$(BIN)/python -m sqlmig status
	@case "$$DATABASE_URL" in \
	    embedded:*) echo "The database is in $${DATABASE_URL#embedded:}. Open it:  make psql" ;; \
	    *) echo "The database is the one that DATABASE_URL names. Open it:  make psql" ;; \
	esac
	@echo 'This database:   sql/GUIDE.md says who may do what, and sql/README.md shows each table'
	@echo 'Your own files:  sqlmig/README.md is the manual of the tool'

down: $(READY) ## Revert the newest migration
	@$(BIN)/python -m sqlmig down

status: $(READY) ## Show what is applied and what is pending
	@$(BIN)/python -m sqlmig status

check: $(READY) ## Prove that each down file undoes its up file
	@$(BIN)/python -m sqlmig check --scratch embedded: --setup $(SETUP) --queries tests/queries.sql

drift: $(READY) ## List what was changed by hand in the database
	@$(BIN)/python -m sqlmig drift --scratch embedded: --setup $(SETUP)

psql: $(READY) ## Open the database in psql
	@$(BIN)/python -m sqlmig.embedded psql

docs: $(READY) ## Write sql/README.md, the page about the schema
	@rm -rf .cache/docs && mkdir -p .cache
	@DATABASE_URL=embedded:.cache/docs $(SET_UP)
	@$(BIN)/python -m sqlmig -d embedded:.cache/docs up >/dev/null
	@$(BIN)/python -m sqlmig -d embedded:.cache/docs docs > .cache/page.md
	@mv .cache/page.md sql/README.md

messages: $(READY) ## Write tests/pages/messages.txt, the list of all messages
	@$(BIN)/python -m tests.support.messages

mermaid: $(READY) ## Parse the diagrams with the real Mermaid (it needs npm)
	@$(BIN)/python -m tests.docs.mermaid

test: $(READY) ## Prove it all on a real server (TEST_DATABASE_URL, else a private one)
	@mkdir -p .cache
	@$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal --basetemp=.cache/tmp

quick: lint ## What to run before each commit, in less than a minute: lint, the pages, and the heart of the core
	@mkdir -p .cache
	@$(BIN)/python -m pytest -q -n $(JOBS) --basetemp=.cache/tmp tests/pages $(QUICK)

citus: $(READY) ## Prove what is promised of Citus (CITUS_DATABASE_URL names a coordinator)
	@$(BIN)/python -m pytest -q --basetemp=.cache/tmp tests/citus

soak: $(READY) ## Cut a run off at every place, and kill many more runners
	@mkdir -p .cache
	@SQLMIG_TEST_KILLS=2000 $(BIN)/python -m pytest -q -n $(JOBS) --basetemp=.cache/tmp tests/core tests/schemas

bench: $(READY) .cache/peers/ready ## Measure the runner beside its peers, and what the policies cost (an hour)
	@$(BIN)/python -m tests.benchmarks.runner
	@$(BIN)/python -m tests.benchmarks.schemas
	@$(BIN)/python -m tests.benchmarks.policies
	@$(BIN)/python -m tests.benchmarks.growth

.cache/peers/ready:
	@mkdir -p .cache/peers
	@$(PYTHON) -m venv .cache/peers/py
	@.cache/peers/py/bin/pip install --quiet --disable-pip-version-check alembic jetbase pyway yoyo-migrations 'psycopg[binary]' psycopg2-binary
	@npm install --silent --prefix .cache/peers/js dbmate node-pg-migrate pg supabase
	@touch $@

lint: $(READY) ## Check style and types
	@$(BIN)/ruff format --check --quiet && $(BIN)/ruff check --quiet && $(BIN)/mypy

clean: ## Remove everything that was made here, the private database too
	rm -rf .venv .cache .postgres

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or later is needed; name one: make PYTHON=python3.12")'
	@echo 'Installing into .venv'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[embedded,dev]'
	@$(BIN)/python -m compileall -q sqlmig
	@touch $(READY)
