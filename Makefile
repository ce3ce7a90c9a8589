# Everything a fresh machine needs: `make demo`, `make test`, `make test-slicer-5.10`; each makes its own
# virtual environment.
# `make evaluation DATA=FOLDER` measures the model on a folder of CT and writes docs/evaluation.md anew.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --constraint constraints.txt

# Slicer 5.10 ships older libraries than those that constraints.txt names, the newest there are.
OLD     := .venv-slicer-5.10
OLD_PIP := $(OLD)/bin/python -m pip install --quiet --constraint $(OLD)/constraints.txt

DATA       ?= ../shared/data/ct
EVALUATION := runs/evaluation

# Waiting threads that spin steal the cores from those that work.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test test-slicer-5.10 evaluation lint clean

demo: $(VENV)/.library
	$(BIN)/diffseglung demo --output demo --overwrite

# Killed processes are part of the tests: whatever they leave lies in one folder that goes with the run.
# The tests start a hundred processes: each may read what the first one compiled.
test test-slicer-5.10: export PYTHONDONTWRITEBYTECODE =
IN_SCRATCH := scratch=$$(mktemp -d) && trap 'rm -rf "$$scratch"' EXIT && trap 'exit 130' INT TERM && \
	TMPDIR=$$scratch OMP_NUM_THREADS=1
# Three workers on two cores: a fifth of their time goes in waiting for processes that tests start.
PYTEST     := -m pytest -n 3 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.test $(VENV)/.system
	$(IN_SCRATCH) $(BIN)/python $(PYTEST) --cov --cov-report=term --cov-fail-under=90

# The library's tests alone: the module's run on slicer-core, which is no Slicer 5.10.
test-slicer-5.10: $(OLD)/.test
	$(IN_SCRATCH) $(OLD)/bin/python $(PYTEST) Testing/lib

# Stopped at any moment, it goes on from there; pictures of patients stay in $(EVALUATION).
# OPTIONS='--undistilled BUNDLE --train' adds the rival without distillation and the short trainings.
evaluation: $(VENV)/.evaluation
	$(BIN)/diffseglung evaluate --suite all --data $(DATA) --output $(EVALUATION) $(OPTIONS)
	mkdir -p docs/evaluation
	cp $(EVALUATION)/evaluation.md docs/
	cp $(EVALUATION)/evaluation/*.png docs/evaluation/

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) setuptools wheel
	touch $@

$(VENV)/.library: $(VENV)/.python pyproject.toml constraints.txt
	$(PIP) torch==2.13.0
	$(PIP) --no-build-isolation --editable .
	touch $@

$(VENV)/.evaluation: $(VENV)/.library
	$(PIP) --no-build-isolation --editable '.[evaluation]'
	touch $@

# pyradiomics 3.0.1, the reference of the descriptor tests, builds only beside an installed numpy.
$(VENV)/.test: $(VENV)/.library
	$(PIP) --no-build-isolation --editable '.[test]'
	$(PIP) --no-build-isolation pyradiomics==3.0.1 || \
		echo "pyradiomics cannot be built here; the tests that compare with it will skip"
	touch $@

# The shared libraries that Qt and off-screen rendering load (Debian packages).
$(VENV)/.system: $(VENV)/.python Testing/system_libraries.py
	$(BIN)/python Testing/system_libraries.py
	touch $@

# Beside the three libraries all is as in $(VENV), so that pip finds most of it in its cache.
$(OLD)/.test: pyproject.toml constraints.txt constraints-slicer-5.10.txt
	$(PYTHON) -m venv $(OLD)
	grep -vE '^(numpy|scipy|pydicom)==' constraints.txt | cat - constraints-slicer-5.10.txt > $(OLD)/constraints.txt
	$(OLD_PIP) setuptools wheel
	$(OLD_PIP) torch==2.13.0
	$(OLD_PIP) --no-build-isolation --editable '.[test-library]'
	touch $@

clean:
	rm -rf $(VENV) $(OLD) demo
