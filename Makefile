# make report   install into .venv, run the default benchmark, write reports/loans/index.html
# make test     lint, unit tests, notebooks
# make lab      JupyterLab on the notebooks
# make bench    the speed and quality comparisons against other packages
# make model-server   a small language model of random weights on http://localhost:8765/v1, for the generator llm
# make clean    remove .venv and everything made under reports/

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed

.PHONY: report test lab bench model-server clean

report: $(INSTALLED)
	$(BIN)/workbench run reports/loans

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest --nbval-lax --nbval-current-env --nbval-cell-timeout=300 notebooks/[0-9]*.ipynb
	$(BIN)/python -m pytest -n 2 --dist loadfile

lab: $(INSTALLED)
	$(BIN)/jupyter lab --notebook-dir=notebooks

bench: $(INSTALLED)
	$(BIN)/python benchmarks/cell_overhead.py
	$(BIN)/python benchmarks/ctgan_adult.py
	$(BIN)/python benchmarks/copulas_adult.py
	$(BIN)/python benchmarks/evaluation_speed.py
	$(BIN)/python benchmarks/known_networks.py
	$(BIN)/python benchmarks/methods.py

model-server: $(INSTALLED)
	$(BIN)/python -m workbench.model_server --port 8765

clean:
	rm -rf .venv build *.egg-info
	find reports -mindepth 2 ! -name grid.toml ! -name README.md -delete

# Written last, so an interrupted installation is started again.
$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		|| { echo "workbench needs Python 3.11 or 3.12: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --requirement requirements.txt
	$(BIN)/python -m pip install --no-deps --editable .
	touch $@
