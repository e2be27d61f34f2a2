# Needs Python 3.11 or later, git and make. Everything is installed into .venv, nothing elsewhere.
#
#   make demo    show a federation of hospitals on this machine
#   make test    run the tests
#   make test-slow    those that need minutes: stock Flower deployments, Ray
#   make test-docker  build the images and prove what a user types with Docker; brings up an engine
#                where none answers
#   make check   format, lint, types, import contracts and the fast tests
#   make docs    write docs/reference/cli.md again
#   make clean   remove .venv and what tools left behind

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
# on all cores, which pip itself does not; some packages hold templates that are no Python
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true

.PHONY: demo test test-slow test-docker check docs clean

demo: $(VENV)/run.stamp
	$(BIN)/medhive demo

test: $(VENV)/dev.stamp
	$(BIN)/python -m pytest

test-slow: $(VENV)/dev.stamp
	$(BIN)/python -m pytest -m slow tests/e2e

test-docker: $(VENV)/dev.stamp
	docker info >/dev/null 2>&1 || scripts/docker-here up
	MEDHIVE_TEST_DOCKER=1 $(BIN)/python -m pytest tests/docker

check: $(VENV)/dev.stamp
	scripts/check

docs: $(VENV)/run.stamp
	$(BIN)/python scripts/make-cli-docs

clean:
	rm -rf $(VENV) build dist .*_cache .hypothesis
	find medhive tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/python.stamp:
	python=$$(scripts/find-python) && "$$python" -m venv --clear $(VENV)
	touch $@

$(VENV)/run.stamp: requirements.txt pyproject.toml $(VENV)/python.stamp
	@echo "Installing MedHive into $(VENV): about 1 GB, once."
	$(PIP) install --quiet --no-compile --requirement requirements.txt --editable .
	$(COMPILE)
	touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	$(PIP) install --quiet --no-compile --requirement requirements-dev.txt
	$(COMPILE)
	touch $@
