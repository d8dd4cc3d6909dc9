# Every target sets up what it needs by itself, in .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
MANIFESTS := setup.cfg backends/tensorflow/setup.cfg backends/tensorpack/setup.cfg

.PHONY: demo test check bench clean

demo: $(READY)
	$(BIN)/maskrcnn-server demo --out demo.png

test: $(READY)
	$(BIN)/python -m pytest --cov --cov-report=term

check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .

bench: $(READY)
	$(BIN)/maskrcnn-server bench tests/images/china.png \
		--model backends/tensorpack/maskrcnn_tensorpack/demo/model

$(READY): $(MANIFESTS) Makefile build_tools/make_venv
	build_tools/make_venv $(PYTHON) $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .[dev] -e backends/tensorflow -e backends/tensorpack
	touch $(READY)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .coverage*
