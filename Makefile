# `make up` serves, `make demo` proves, `make test` checks. Each sets up what it needs and says so.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV   := .venv
PYTHON := $(VENV)/bin/python
MODE   := embedded
SERVE  := $(VENV)/.serve
TEST   := $(VENV)/.test
READY  := $(if $(filter kafka,$(MODE)),$(TEST),$(SERVE))
ROUNDS := 50
# Of `make test`: processes that share the tests, on two processors; each waits now and then.
WORKERS := 3
# Of `make bench`: all parts, in the usual size.
PART   :=
SIZE   := usual
# Of `make fuzz`, which finishes the round it is in.
SECONDS := 60

# A file is one process's, which starts what its tests share.
PYTEST  := $(PYTHON) -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

# What depends on Prosody's version.
ON_DEBIAN_13 := tests/e2e $(addprefix tests/integration/test_, tap.py tap_*.py prosody*.py \
	account_removal.py check.py import.py ingest.py migrator.py query_component.py rooms.py) tests/faults/test_crashes.py

.PHONY: help up demo manual deb test test-slow faults freshness fuzz bench bench-check check format clean

help: ## Say what there is
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

up: $(READY) ## Set up and serve an archive on loopback, with a Prosody and two accounts; MODE=kafka for all of it
	@$(PYTHON) -m devstack up --mode $(MODE)

demo: $(READY) ## Send a conversation, read it back from both archives, and end; MODE=kafka for all of it
	@$(PYTHON) -m devstack demo --mode $(MODE)

deb: $(READY) ## Build a Debian package for this release, in this directory
	@deploy/debian/build.sh $(VENV) .

test: $(TEST) check ## Set up everything, check the code and run the tests, but for those that take long
	@$(PYTEST) -m "not slow"

test-slow: $(TEST) ## Run the tests that take long: storms, bounds of memory, an installation, each benchmark once; and on Prosody 13
	@$(PYTEST) --numprocesses 2 -m slow
	@$(PYTEST) -m "not slow" -k "not kafka" --debian13 $(ON_DEBIAN_13)

faults: $(TEST) ## Kill, freeze and restart everything under load: MODE=kafka ROUNDS=100 SEED=7
	@$(PYTHON) -m tests.faults.storm --mode $(MODE) --rounds $(ROUNDS) $(if $(SEED),--seed $(SEED))

freshness: $(TEST) ## Ask for the last page right behind 1,000 messages, again and again: MODE=kafka ROUNDS=200
	@$(PYTHON) -m tests.faults.freshness --mode $(MODE) --rounds $(ROUNDS)

bench: $(TEST) ## What is measured, all contenders in one run: PART=pages, SIZE=quick or FULL=1, AGAINST=a git revision
	@$(PYTHON) -m bench $(PART) --size $(if $(FULL),full,$(SIZE)) $(if $(MESSAGES),--messages $(MESSAGES)) $(if $(AGAINST),--against $(AGAINST))

manual: $(SERVE) ## Write the manual pages and completion scripts of share/ from the commands
	@$(PYTHON) -m stanzalake.cli.manual share

bench-check: $(TEST) ## Run each part of the benchmarks once, in its smallest size: does it work, not how fast
	@$(PYTHON) -m pytest tests/integration/test_bench.py

fuzz: $(TEST) ## Damage the input of everything that reads what others wrote: SECONDS=600
	@end=$$(($$(date +%s) + $(SECONDS))); while [ $$(date +%s) -lt $$end ]; do \
		$(PYTHON) -m pytest -q -m hypothesis --hypothesis-profile=fuzz --timeout=0 tests/unit \
			tests/e2e/test_arbitrary_stanzas.py || exit; \
	done

check: $(TEST) ## Lint, types, formats, alerts
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/mypy
	@out=$$($(VENV)/bin/lint-imports --no-logo --no-cache) || { echo "$$out"; exit 1; }
	@luacheck --quiet prosody deploy/probe.lua tests bench
	@docker-compose --env-file tests/support/compose.env config --quiet
	@docker-compose --env-file tests/support/compose.env --file docker-compose.yml \
		--file docker-compose.production.yml config --quiet
	@amtool check-config deploy/alertmanager/alertmanager.yml >/dev/null
	@promtool check config deploy/prometheus/prometheus.yml deploy/prometheus/production.yml >/dev/null
	@promtool test rules tests/alerts/*.yml >/dev/null

format: $(TEST) ## Format the code
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix .

clean: ## Remove everything that make made, also the archive of `make up`
	rm -rf $(VENV) .stanzalake

$(SERVE): pyproject.toml constraints.txt deploy/setup.sh
	@deploy/setup.sh serve $(VENV)
	@touch $@

$(TEST): pyproject.toml constraints.txt deploy/setup.sh tests/support/kafka/pom.xml
	@deploy/setup.sh test $(VENV)
	@touch $@ $(SERVE)
