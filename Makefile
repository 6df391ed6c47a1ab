PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-all lint docs dist install clean

demo: install
	$(BIN)/mrkd compare --recipe quick --data digits --methods random,ibot,rkd-d,rkd-a,structural,ibot+rkd-d --seeds 0 --jobs 2 --out runs/demo

test: lint
	$(BIN)/python -m pytest -q -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -q

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: install
	$(BIN)/mkdocs build --strict

dist: install
	$(BIN)/python -m build

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

clean:
	rm -rf .venv runs build dist
