# Two commands for a fresh machine with Python 3.10 or later, git and make:
#   make demo    finds and validates a circuit in the shipped model, and says where the report is
#   make test    passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# The versions last seen green; CONSTRAINTS= installs the newest that pyproject.toml allows.
CONSTRAINTS ?= constraints.txt
PINNED := $(if $(CONSTRAINTS),-c $(CONSTRAINTS))
# A CPU build of torch where pip is offered one; elsewhere whatever pip gives.
TORCH := 2.13.0
CPU_TORCH := torch==$(TORCH)+cpu
PYTEST := $(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal
# Tests that together call 374 of the 390 functions with arrays in their signatures (the others are
# mostly protocols): they run once more, with shapes, dtypes and kinds of all arguments checked at
# every call, which takes two to three times as long.
SHAPES := tests/nodes tests/theory tests/heads tests/expansion tests/features tests/nonlinearity \
  tests/circuits/test_selection.py \
  $(patsubst %,tests/edges/test_%.py,attribute averaging engines reference) \
  $(patsubst %,tests/splicing/test_%.py,anatomy dictionary generation parts) \
  $(patsubst %,tests/validation/test_%.py,baselines calibration validate)
# All but smollm2, whose package is a file to us, and drags along what is compiled for ten minutes.
EXTRAS := --extra gguf --extra notebook --extra dev
TABLE := python -m pip list --format=freeze | \
  grep -E '^(torch|transformers|transformer-lens|sae-lens|pandas|numpy)=='

.PHONY: demo test check format clean oldest newest constraints

demo: $(VENV)/installed
	$(BIN)/saecircuits discover pronoun --out runs/pronoun --overwrite

test: $(VENV)/installed-dev
	$(PYTEST)
	$(PYTEST) --jaxtyping-packages=saecircuits,beartype.beartype $(SHAPES)

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check saecircuits tests experiments
	$(BIN)/ruff check saecircuits tests experiments
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/installed-dev
	$(BIN)/ruff format saecircuits tests experiments
	$(BIN)/ruff check --fix saecircuits tests experiments

# The same tests with the lowest and with the highest versions that pyproject.toml allows, each in
# an environment of its own, and the versions that they met.
oldest: $(VENV)-oldest/constraints.txt
	$(MAKE) test VENV=$(VENV)-oldest CONSTRAINTS=$<
	@$(VENV)-oldest/bin/$(TABLE)

newest:
	$(MAKE) test VENV=$(VENV)-newest CONSTRAINTS= CPU_TORCH=
	@$(VENV)-newest/bin/$(TABLE)

# constraints.txt anew, for every Python and system, when `make newest` is green.
constraints: $(VENV)/uv
	echo "torch==$(TORCH)" > $(VENV)/torch.txt
	$(BIN)/uv pip compile -q pyproject.toml $(EXTRAS) --universal --python-version 3.10 \
	  --no-annotate --no-header --upgrade -c $(VENV)/torch.txt -o constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest runs

$(VENV)-oldest/constraints.txt: pyproject.toml | $(VENV)/uv
	mkdir -p $(@D)
	$(BIN)/uv pip compile -q pyproject.toml $(EXTRAS) --resolution lowest-direct \
	  --python $(BIN)/python --no-annotate --no-header -o $@

$(VENV)/uv: $(VENV)/torch
	$(BIN)/python -m pip install -q uv
	touch $@

$(VENV)/torch:
	$(PYTHON) -c 'import sys; sys.exit("saecircuits needs Python 3.10 or later, found " + sys.version.split()[0] + "; try: make PYTHON=python3.12") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q $(PINNED) "$(CPU_TORCH)" 2>/dev/null || $(BIN)/python -m pip install -q $(PINNED) "torch>=2.6"
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install -q $(PINNED) -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/torch pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install -q $(PINNED) -e ".[dev]"
	touch $@ $(VENV)/installed
