# `make demo` shows it at work, `make test` proves it; both make .venv first if need be.

PYTHON ?= python3
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN := .venv/bin
# An empty file per set of extras: older than pyproject.toml means install again.
LAB := .venv/.installed-lab
DEVELOP := .venv/.installed-develop
TRAINING := .venv/.installed-training
DOCS := .venv/.installed-docs

$(LAB): extras = lab
$(DEVELOP): extras = test check
$(TRAINING): extras = training
$(DOCS): extras = docs
$(LAB) $(DEVELOP) $(TRAINING) $(DOCS): pyproject.toml tools/environment.py
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || \
	  { echo "error: $(PYTHON) is not a Python 3.10 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@"$(PYTHON)" tools/environment.py $(extras)
	@touch $@

PLAIN := not kernel and not hub and not browser and not packaging and not torture

.PHONY: help
help:
	@echo "make demo    a haiku in the terminal, then the quickstart notebook in a real kernel"
	@echo "make lab     JupyterLab on the examples"
	@echo "make test    every tier of tests: plain, kernel, hub, browser, packaging"
	@echo "make torture the long forms of the tests of reliability, for docs/reliability.md; an hour"
	@echo "make plain   the plain tier alone, which needs neither a notebook server nor a browser"
	@echo "make coverage which lines the plain tier runs, worker processes included; fails below the floor"
	@echo "make check   formatter, linter, strict type checker, checks of the workflows for GitHub"
	@echo "make docs    the pages of docs/ and the reference, into build/docs"
	@echo "make links   ask every address in the documentation whether it still answers; needs the network"
	@echo "make model   train the shipped model again"
	@echo "make bench   measure speed and memory beside Llama and Candle, for docs/performance.md; an hour"
	@echo "make llama-server  build llama.cpp's server from the same sources; make test-servers runs tests/remote with it"
	@echo "make candle  build Candle, the reference, and compare its tokens with ours"

.PHONY: demo
demo: $(LAB)
	$(BIN)/python -m phi_magic "Write a haiku about ice hockey" --model demo
	$(BIN)/python tools/run_notebook.py examples/quickstart.ipynb

.PHONY: lab
lab: $(LAB)
	$(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) examples/quickstart.ipynb

.PHONY: test
test: plain
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "(kernel or hub or browser or packaging) and not torture"

.PHONY: plain
plain: $(DEVELOP)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile -m "$(PLAIN) and not alone"
	$(BIN)/python -m pytest -m "$(PLAIN) and alone"

.PHONY: coverage
coverage: $(DEVELOP)
	mkdir -p build/coverage
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest -m "$(PLAIN)" # make plain judges the tests: some see coverage's files and slowness
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: torture
torture: $(DEVELOP)
	$(BIN)/python -m pytest -m torture -o faulthandler_timeout=0; status=$$?; \
	  $(BIN)/python tools/reliability.py && exit $$status

.PHONY: check
check: $(DEVELOP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/zizmor --quiet --offline .github/workflows
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/defect.yml .github/ISSUE_TEMPLATE/idea.yml

.PHONY: docs
docs: $(DOCS)
	$(BIN)/python -m sphinx --builder html --nitpicky --fail-on-warning --keep-going --quiet docs build/docs

# Needs the network, and a server that is down for an hour fails it: so it is no part of CI.
.PHONY: links
links: $(DOCS)
	$(BIN)/python -m sphinx --builder linkcheck --keep-going --quiet docs build/links

.PHONY: training-extra
training-extra: $(TRAINING)

.PHONY: model
model: $(TRAINING)
	$(BIN)/python -m training

.PHONY: bench
bench: $(DEVELOP)
	$(BIN)/python -m benchmarks --write
	$(BIN)/python -m benchmarks --plans --write --save plans.json
	$(BIN)/python -m benchmarks.cache_types --write
	$(BIN)/python -m benchmarks.speculation --write
	$(BIN)/python -m benchmarks.worker --write
	$(BIN)/python -m benchmarks.busy --write
	$(BIN)/python -m benchmarks.cache --write
	$(BIN)/python -m benchmarks.conversation --write
	$(BIN)/python -m benchmarks.cluster --write
	$(BIN)/python -m benchmarks.tables --write
	$(BIN)/python tools/build_llama_server.py
	$(BIN)/python -m benchmarks.servers --write

# What tests/remote asks beside llama_cpp.server; ten minutes on two cores, and cmake.
.PHONY: llama-server
llama-server: $(DEVELOP)
	$(BIN)/python tools/build_llama_server.py

.PHONY: test-servers
test-servers: $(DEVELOP)
	$(BIN)/python -m pytest tests/remote

.PHONY: candle
candle: $(DEVELOP)
	$(BIN)/python -m benchmarks.agreement
