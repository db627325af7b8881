# Two commands for a fresh machine with Python 3.10 or later, git and make:
#   make demo    finds and validates a circuit in the shipped model, and says where the report is
#   make test    passes the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# A CPU build of torch where pip is offered one; elsewhere whatever pip gives.
CPU_TORCH := torch==2.13.0+cpu

.PHONY: demo test check format docs clean

demo: $(VENV)/installed
	$(BIN)/saecircuits discover pronoun --out runs/pronoun --overwrite

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal

check: $(VENV)/installed-dev
	$(BIN)/ruff format --check saecircuits tests experiments
	$(BIN)/ruff check saecircuits tests experiments
	$(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/installed-dev
	$(BIN)/ruff format saecircuits tests experiments
	$(BIN)/ruff check --fix saecircuits tests experiments

clean:
	rm -rf $(VENV) runs

$(VENV)/torch:
	$(PYTHON) -c 'import sys; sys.exit("saecircuits needs Python 3.10 or later, found " + sys.version.split()[0] + "; try: make PYTHON=python3.12") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -q "$(CPU_TORCH)" 2>/dev/null || $(BIN)/python -m pip install -q "torch>=2.6"
	touch $@

$(VENV)/installed: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install -q -e .
	touch $@

$(VENV)/installed-dev: $(VENV)/torch pyproject.toml
	$(BIN)/python -m pip install -q -e ".[dev]"
	touch $@ $(VENV)/installed
