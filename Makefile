PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all test-browser chromium lint docs dist install clean

demo: install
	$(BIN)/mrkd compare --recipe quick --data digits --methods random,ibot,rkd-d,rkd-a,structural,ibot+rkd-d --seeds 0 --jobs 2 --out runs/demo

test: lint chromium
	$(BIN)/python -m pytest -q -n auto --maxprocesses 8 --dist loadfile -m "not slow"

test-all: lint chromium
	$(BIN)/python -m pytest -q

test-browser: install chromium
	$(BIN)/python -m pytest -q -m browser

chromium:
	@tests/browser/install_chromium.sh

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	MRKD_NOTEBOOK=run $(BIN)/mkdocs build --strict

dist: install
	$(BIN)/python -m build

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv runs build dist
