# Every target sets up what it needs by itself: `demo` in .venv-demo, the others in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
BACKENDS := $(patsubst %/setup.cfg,%,$(wildcard backends/*/setup.cfg))
HANDLERS := $(patsubst %/setup.cfg,%,$(wildcard handlers/*/setup.cfg))
PARTS := $(HANDLERS) $(BACKENDS)
WORKERS := $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
TESTS := $(BIN)/python -m pytest --durations=10
COVERAGE := --cov --cov-report=term
DEMO := .venv-demo
DEMO_PARTS := $(addprefix handlers/,annotation_formats playground predict) \
	$(addprefix backends/,network openvino tensorpack)

.PHONY: demo test test-full test-all check docs bench clean

demo: $(DEMO)/ready
	$(DEMO)/bin/maskrcnn-server demo --out demo.png

# Versions are those of the images. Hashes do not go together with folders. setuptools is installed
# once, not once for each folder.
$(DEMO)/ready: setup.cfg $(addsuffix /setup.cfg,$(DEMO_PARTS)) Makefile build_tools/make_venv.sh \
		build_tools/requirements/openvino.txt
	build_tools/make_venv.sh $(PYTHON) $(DEMO)
	sed -n 's/^\([a-z].*==.*[^ \]\) *\\$$/\1/p' build_tools/requirements/openvino.txt \
		> $(DEMO)/constraints.txt
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(DEMO)/constraints.txt setuptools
	$(DEMO)/bin/python -m pip install --quiet --disable-pip-version-check --no-compile \
		--no-build-isolation --constraint $(DEMO)/constraints.txt -e .[fast] \
		$(addprefix -e ,$(DEMO_PARTS))
	touch $@

# Threads of NumPy's library cost more than they gain beside other processes.
test test-full: export OPENBLAS_NUM_THREADS := 1

# One process more than CPUs: tests also wait for servers and clocks.
# `make test-all` measures the coverage, too, which takes a quarter longer.
test: $(READY)
	$(TESTS) -m "not full and not exhaustive" -n $(WORKERS) --maxprocesses 4 --dist loadfile $(COVER)

# One process: large networks use every core, and wheels are built once.
test-full: $(READY)
	$(TESTS) -m "full and not exhaustive"

test-all:
	$(MAKE) test COVER="$(COVERAGE)"
	$(MAKE) test-full

# Backends are typed one by one: they have tests of the same names.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy maskrcnn_server handlers tests build_tools
	set -e; for backend in $(BACKENDS); do $(BIN)/mypy backends/conftest.py $$backend; done

docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file build_tools/docs/mkdocs.yml

bench: $(READY)
	$(BIN)/maskrcnn-server bench tests/images/china.png --json-body --backend tensorpack \
		--model backends/tensorpack/maskrcnn_tensorpack/demo/model

# trackers requires opencv-python, which needs libraries for windows and excludes the headless one;
# the rest that it requires is there.
$(READY): setup.cfg $(addsuffix /setup.cfg,$(PARTS)) Makefile build_tools/make_venv.sh \
		build_tools/requirements/dev.txt
	build_tools/make_venv.sh $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet \
		--constraint build_tools/requirements/dev.txt -e .[dev] $(addprefix -e ,$(PARTS))
	$(BIN)/python -m pip install --quiet --no-deps 'trackers>=2.6'
	touch $(READY)

clean:
	rm -rf $(VENV) $(DEMO) build/clients build/site .mypy_cache .ruff_cache .pytest_cache .coverage*
