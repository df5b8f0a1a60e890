# Two commands do everything on a machine with Python >= 3.11 and make:
#   make demo    creates the environment, installs, runs the main job
#   make test    creates the environment, installs, runs lint, types, docs and tests
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
CODE   := proxmtl kernels backbones bench tests

.PHONY: demo test test-deep test-isa test-extras test-trunks matrix dist coverage faults fuzz mutants reliability \
	lint types docs bench bench-peers bench-compare env clean
.DEFAULT_GOAL := test

# Tests start many processes, and compiling the package in each of them takes a third of their start.
unexport PYTHONDONTWRITEBYTECODE

env: $(READY)

$(READY): requirements/dev.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "proxmtl needs Python 3.11 or newer; set PYTHON=...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q -r requirements/dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps --no-build-isolation -e .
	touch $@

demo: $(READY)
	$(BIN)/proxmtl demo

test: lint types docs
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-deep: $(READY)
	HYPOTHESIS_PROFILE=deep $(BIN)/python -m pytest -n 2 --dist worksteal --timeout 3600

# The numerical tests on every instruction set and thread count of this machine; options in ISA.
test-isa: $(READY)
	$(BIN)/python tests/isa.py $(ISA)

# With other libraries (docs/how_to/ecosystem.md), in an environment of their own.
test-extras: build/extras/.ready
	build/extras/bin/python -m pytest tests/ecosystem $(EXTRAS)

# With timm and torchvision, in another one: torchvision goes with one release of torch alone.
test-trunks: build/trunks/.ready
	build/trunks/bin/python -m pytest tests/ecosystem tests/backbones/test_chain.py $(TRUNKS)

build/extras/.ready build/trunks/.ready: build/%/.ready: requirements/%.lock requirements/dev.lock pyproject.toml
	rm -rf build/$*
	$(PYTHON) -m venv build/$*
	build/$*/bin/python -m pip install --disable-pip-version-check --progress-bar off -q -r $< -e '.[test,images]'
	touch $@

# Core tests on each supported Python that is there, and on the lowest supported dependencies. MATRIX='--only 3.12'
matrix: $(READY)
	$(BIN)/python tests/matrix.py $(MATRIX)

# The sdist, the wheel built of it, and what a user gets of the wheel in an empty environment.
dist: $(READY)
	$(BIN)/python tests/distribution.py

# Lines that the tests run, from the traced run that the mutants use; pyproject.toml has the floor.
coverage: $(READY) build/mutants/seen
	PYTHONPATH=build/tracing $(BIN)/python -m coverage report --data-file build/mutants/seen --skip-covered

# Which changes of an operator no test notices, on a sample; goes on where it was. MUTANTS='--minutes 30'
mutants: $(READY) build/mutation build/mutants/seen
	PYTHONPATH=build/mutation $(BIN)/python bench/mutants/sample.py
	PYTHONPATH=build/tracing $(BIN)/python bench/mutants/run.py $(MUTANTS)

# Which tests run which lines, from one run of all; lines that move later only make the choice worse.
build/mutants/seen: build/tracing
	PYTHONPATH=build/tracing:bench/mutants $(BIN)/python -m pytest -p tracer -n 2 --dist worksteal --ignore tests/faults || test -f $@

build/mutation build/tracing: build/%: pyproject.toml
	rm -rf $@
	$(BIN)/python -m pip install --disable-pip-version-check -q --target $@ "$$($(BIN)/python -c \
		'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$*"])')"

# A thousand disturbed commands; interrupted, it goes on where it was. Options in FAULTS.
faults: $(READY)
	mkdir -p build
	$(BIN)/python -m tests.faults --count 1000 --slow --journal build/faults.jsonl --record $(FAULTS)

# Ten minutes for each parser, or make fuzz FUZZ="labels --seconds 60".
FUZZ ?= all --seconds 600
fuzz: $(READY)
	$(BIN)/python -c 'import atheris' || $(BIN)/python -m pip install --disable-pip-version-check -q "$$($(BIN)/python -c \
		'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz"])')"
	$(BIN)/python -m tests.fuzz $(FUZZ) --record

reliability: $(READY)
	$(BIN)/python -m bench.solvers.reliability

lint: $(READY)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

# Static checkers don't follow the package-dir mapping of a source tree: check what users get.
types: $(READY)
	rm -rf build/typed build/lib
	$(BIN)/python -m pip install --disable-pip-version-check -q --no-deps --no-build-isolation --target build/typed .
	cd build/typed && $(abspath $(BIN))/mypy --config-file $(abspath pyproject.toml) --cache-dir $(abspath build/mypy) -p proxmtl

# The pages of docs/ as a site, build/docs/index.html; the gallery's scripts run.
docs: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -j 2 -b html -W --keep-going -q docs build/docs

bench: $(READY)
	$(BIN)/python -m pytest bench --benchmark-only -n 0

# Against the field's solvers, in an environment that adds them to the packages of this one; goes on
# where it was. PEERS='--minutes 5 b1-lasso-0.1'
bench-peers: build/peers/.ready
	build/peers/bin/python -m bench.solvers.peers $(PEERS)

bench-compare: $(READY)
	$(BIN)/python -m bench.solvers.compare $(BASE) $(COMPARE)

build/peers/.ready: $(READY) requirements/peers.txt
	rm -rf build/peers
	$(BIN)/python -m venv build/peers
	build/peers/bin/python -c 'import site, sys; from pathlib import Path; \
		(Path(site.getsitepackages()[0]) / "dev.pth").write_text(f"import site; site.addsitedir({sys.argv[1]!r})\n")' \
		"$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')"
	build/peers/bin/python -m pip install --disable-pip-version-check --progress-bar off -q --no-deps -r requirements/peers.txt
	touch $@

clean:
	rm -rf build $(VENV) *.egg-info
