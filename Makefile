# make run    the three example jobs, on SQLite, in the foreground
# make test   the tests, on real SQLite, MariaDB and PostgreSQL servers
# make help   the rest

# Without PYTHON, `make install` chooses one that the service's user can run.
INSTALL_PYTHON := $(PYTHON)
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PREFIX ?= /usr/local
SEEDS ?= 2000
FIRST ?= 0
DATABASE ?= sqlite
JOBS ?= 6
LOCK := contrib/constraints.txt
unexport PYTHONDONTWRITEBYTECODE PYTHONPATH JOBD_CONFIG JOBD_DATABASE

.PHONY: help run fresh test test-fast coverage lock test-servers test-debian13 test-systemd model chaos combine combine-each combine-planted simulate check format docs bench bench-check bench-baseline bench-peers install uninstall clean
.DEFAULT_GOAL := help

help:
	@echo 'make run            run the three example jobs in the foreground (Ctrl-C stops)'
	@echo 'make fresh          forget what they did'
	@echo 'make test-fast      run the tests that need no server and no load, in about a minute'
	@echo 'make coverage       run them, and report the lines and branches that they miss'
	@echo 'make test           run the tests; installs MariaDB and PostgreSQL when root and missing'
	@echo 'make test-servers   fetch MySQL 9, MariaDB 11.8 and PostgreSQL 18 into a cache (350 MB), and test on them too'
	@echo 'make test-debian13  run them in a fresh Debian 13, made by debootstrap (root): TESTS=tests/store for some of them'
	@echo 'make test-systemd   run the tests that boot a real systemd (root)'
	@echo 'make model          search the model of the claim protocol to its end (Spin)'
	@echo 'make simulate       simulate whole clusters with every fault: SEEDS=2000 FIRST=0'
	@echo 'make combine        play drawn combinations of features on real daemons: DATABASE=sqlite SEEDS=20 FIRST=0 JOBS=6'
	@echo 'make combine-each   one seed of each situation and a fresh one, on four databases; four minutes'
	@echo 'make combine-planted see that it finds each of the known faults, planted one at a time'
	@echo 'make chaos          break real daemons, servers, disks and clocks for some minutes'
	@echo 'make check          lint, format, types, imports that point down the floors, and plain words'
	@echo 'make format         put the format right'
	@echo 'make docs           write the reference pages, and the site to build/site; broken links are errors'
	@echo 'make bench          run the benchmarks, a quarter of an hour or more'
	@echo 'make bench-check    fail when jobd has become slower than benchmarks/baseline.json says'
	@echo 'make bench-baseline write that file'
	@echo 'make bench-peers    other schedulers on the same work, side by side'
	@echo 'make install        install program, unit and configuration (PREFIX, DESTDIR)'
	@echo 'make uninstall      remove them; configuration, plugins and data stay'
	@echo 'make lock           choose the newest versions of all development tools ($(LOCK))'
	@echo 'make clean          remove what the other targets made'

run: $(VENV)/run
	@$(BIN)/jobd add task1 --every 10s --if-not-exists
	@$(BIN)/jobd add task2 --once --if-not-exists
	@$(BIN)/jobd add task3 --once --retry 3 --if-not-exists
	@echo 'Ctrl-C stops it. Finished jobs stay finished; `make fresh` forgets everything, to start over.'
	@exec $(BIN)/jobd start --foreground

fresh:
	rm -rf jobd.db jobd.db-wal jobd.db-shm state

test: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/pytest -n 2 -m 'not quiet and not systemd and not model and not chaos' $(TESTS) || [ $$? = 5 ]
	@sync # what the tests before have written is not to slow down those that measure time
	$(BIN)/pytest -m quiet $(TESTS) || [ $$? = 5 ]

# No server, no measurement, no folder whose tests start daemons or search for long.
FAST := -n 2 -m 'not servers and not quiet and not systemd and not model and not chaos' \
	tests/test_*.py tests/schedule tests/engine tests/store tests/plugins tests/runner tests/combine/test_*.py

test-fast: $(VENV)/dev
	$(BIN)/pytest $(FAST)

coverage: $(VENV)/dev
	$(BIN)/pytest --cov=jobd --cov-branch --cov-report=term-missing:skip-covered $(FAST)

lock: $(VENV)/dev
	$(BIN)/pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade --extra dev --extra docs \
		--no-header --no-annotate --no-emit-package jobd --output-file $(LOCK) pyproject.toml

test-debian13:
	tests/debian13.sh test TESTS='$(TESTS)'

test-servers: $(VENV)/dev
	@tests/unpack-servers.sh
	$(BIN)/pytest -n 2 tests/store

test-systemd: $(VENV)/dev
	$(BIN)/pytest -m systemd

model: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/pytest -n 2 -m model

chaos: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/pytest -m chaos -rP

combine: SEEDS := 20
combine: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/python -m tests.combine --database $(DATABASE) --seeds $(SEEDS) --first $(FIRST) --jobs $(JOBS)

combine-each: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/python -m tests.combine --database sqlite,mariadb,mysql,postgresql --each --fresh 1 --jobs $(JOBS)

combine-planted: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/python -m tests.combine.planted --jobs $(JOBS)

simulate: $(VENV)/dev
	$(BIN)/python -m tests.simulation $(SEEDS) $(FIRST)

check: $(VENV)/dev
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/pytest tests/test_words.py

format: $(VENV)/dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/docs
	$(BIN)/python docs/reference.py
	@rm -rf build/docs build/site
	@mkdir -p build/docs/decisions
	@cp docs/zensical.toml build/
	@cp docs/*.md build/docs/
	@cp docs/decisions/*.md build/docs/decisions/
	$(BIN)/zensical build -f build/zensical.toml --strict

bench: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/python -m benchmarks

bench-check: $(VENV)/dev
	$(BIN)/python -m benchmarks.check

bench-baseline: $(VENV)/dev
	$(BIN)/python -m benchmarks.check --write

bench-peers: $(VENV)/dev
	@tests/install-servers.sh
	$(BIN)/python -m benchmarks.peers

install uninstall:
	@PREFIX='$(PREFIX)' DESTDIR='$(DESTDIR)' PYTHON='$(INSTALL_PYTHON)' PIP_OPTIONS='$(PIP_OPTIONS)' contrib/install.sh $@

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'jobd needs Python 3.11 or newer; say which: make PYTHON=python3.12 …' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ [ "$$(id -u)" = 0 ] && apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv; } || \
		{ echo 'the module venv is missing; install it with: sudo apt-get install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/docs: $(VENV)/dev
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(LOCK) --editable '.[docs]'
	@touch $@

$(VENV)/dev: pyproject.toml $(LOCK) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(LOCK) --editable '.[dev]'
	@touch $@ $(VENV)/run
