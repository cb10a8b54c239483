# Two commands set everything up, each on a fresh clone: `make demo` and `make test`.

# The line that installs torch. The default takes whatever build the package index gives for this
# platform; for another one: make demo TORCH="torch==2.13.0 --index-url URL-OF-YOUR-BUILD"
TORCH ?= torch==2.13.0
PYTHON ?= python3

# The folder of saved logits for the benchmarks on real networks, one folder per data set.
LOGITS ?=

BIN := .venv/bin
BENCH := .venv-bench/bin/python
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
INSTALL := $(PIP) install --constraint constraints.txt

.PHONY: demo test lint bench bench-full clean

demo: .venv/installed
	$(BIN)/calibrate demo --output calibrate-demo --force

test: .venv/installed-test
	$(BIN)/python -m pytest

lint: .venv/installed-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv-bench/installed
	$(BENCH) tests/benchmarks/speed.py --rows 20000 --classes 2000 --peer-seconds 3 \
	  --output .benchmarks/small
	$(BENCH) tests/benchmarks/real_logits.py $(LOGITS)

bench-full: .venv-bench/installed
	$(BENCH) tests/benchmarks/speed.py --folder .benchmarks/case --output .benchmarks/full
	$(BENCH) tests/benchmarks/simulation.py --output .benchmarks/simulation.json
	$(BENCH) tests/benchmarks/calibration.py $(LOGITS) --output .benchmarks/calibration
	$(BENCH) tests/benchmarks/quality.py $(LOGITS) --output .benchmarks/quality

clean:
	rm -rf .venv .venv-bench calibrate-demo

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	$(PIP) install $(TORCH)
	$(INSTALL) --editable ".[onnx,report]"
	touch $@

.venv/installed-test: .venv/installed
	$(INSTALL) --group test
	touch $@

.venv/installed-lint: .venv/installed-test
	$(INSTALL) --group lint
	touch $@

.venv-bench/installed: pyproject.toml constraints.txt tests/benchmarks/requirements.txt
	$(PYTHON) -m venv .venv-bench
	$(BENCH) -m pip --disable-pip-version-check --quiet install --constraint constraints.txt \
	  --upgrade pip
	$(BENCH) -m pip --disable-pip-version-check --quiet install $(TORCH)
	$(BENCH) -m pip --disable-pip-version-check --quiet install --constraint constraints.txt \
	  --editable . --requirement tests/benchmarks/requirements.txt
	touch $@
