# Everything a newcomer needs: make run. The environment lives in .venv and is made when pyproject.toml changes.
PYTHON ?= python3
PARAMS ?= params/shapes.yaml
ARGS ?=
PYTEST = OMP_NUM_THREADS=1 .venv/bin/pytest -n logical --maxprocesses 4 --dist worksteal

.PHONY: help run check test test-all style lab docs bench torture format

help:  ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/\t/' | expand -t 10
	@echo 'make run PARAMS=params/shapes.yaml ARGS="--set supervised.steps=100"'

run: .venv/installed  ## an experiment through the notebooks, or on from where it stopped
	.venv/bin/eln-kit run "$(PARAMS)" $(ARGS)

check: style  ## style, types, import order, and the quick tests: under a minute
	$(PYTEST) -m "not slow and not nightly"

test: style  ## what every push tests: some minutes
	$(PYTEST) -m "not nightly"

test-all: style  ## everything, as once a week: with SLURM, benchmarks and kills, some 20 minutes
	$(PYTEST) --hypothesis-profile nightly

style: .venv/installed
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports
	.venv/bin/mypy

INFO = metadata.language_info
STRIP = .venv/bin/nbstripout --keep-id --extra-keys "$(foreach key,version codemirror_mode file_extension mimetype nbconvert_exporter pygments_lexer,$(INFO).$(key)) metadata.widgets"

LAB_SETTINGS = .venv/share/jupyter/lab/settings

lab: .venv/installed  ## JupyterLab on the notebooks; opening and running them leaves git clean
	@git config filter.nbstripout.clean '$(STRIP)' || true  # no clone, no filter
	@mkdir -p $(LAB_SETTINGS)  # no autosave: what is run changes no file until it is saved; the start page is shown as a page
	@echo '{"@jupyterlab/docmanager-extension:plugin": {"autosave": false, "defaultViewers": {"markdown": "Markdown Preview"}}}' \
		> $(LAB_SETTINGS)/overrides.json
	.venv/bin/jupyter lab --notebook-dir=. --LabApp.default_url=/lab/tree/notebooks/README.md

FOR_DOCS = $(or $(RUN),runs/shapes)
EXECUTE = .venv/bin/papermill --no-progress-bar --log-level ERROR

docs: $(if $(RUN),.venv/installed,run)  ## the site, build/docs/index.html, with the notebooks of make run: make docs RUN=runs/camvid
	@execute() { \
		test $(FOR_DOCS)/$$1.ipynb -nt $(FOR_DOCS)/4_evaluate.ipynb && test $(FOR_DOCS)/$$1.ipynb -nt notebooks/$$1.ipynb && return; \
		name=$$1; shift; echo "executing $$name"; $(EXECUTE) notebooks/$$name.ipynb $(FOR_DOCS)/$$name.ipynb "$$@"; }; \
	execute toy_method && execute error_lab -p run $(FOR_DOCS) && execute 6_label_next -p run $(FOR_DOCS) && \
	execute 5_compare -p runs $(FOR_DOCS) -p out $(FOR_DOCS)/5_compare
	.venv/bin/sphinx-build -W --keep-going -q -d build/doctrees -D eln_run=$(FOR_DOCS) docs build/docs
	@echo build/docs/index.html

bench: .venv/installed  ## what a step costs, and how quickly the error lab answers: make bench RUN=runs/camvid
	.venv/bin/python benchmarks/steps.py
	.venv/bin/python benchmarks/contrast.py $(OFFICIAL)
	.venv/bin/python benchmarks/lab.py $(RUN)
	test -z "$(RUN)" || .venv/bin/python benchmarks/commands.py $(RUN)

torture: .venv/installed  ## kill each stage 30 times at random moments, then train for 5,000 steps: some 20 minutes
	PYTHONPATH=tests:tests/helpers .venv/bin/python tests/long/torture.py
	PYTHONPATH=tests:tests/helpers .venv/bin/python tests/long/endurance.py

format: .venv/installed  ## format the code, and take outputs out of the notebooks
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .
	.venv/bin/nbstripout --keep-id notebooks/*.ipynb

.venv/installed: pyproject.toml  # written last: a half-finished install does not count
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'eln-kit needs Python 3.11 or newer: make PYTHON=python3.12 ...' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo 'this Python has no venv module: on Debian and Ubuntu, apt install python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@echo "installing into .venv: about 6.5 GB and some minutes"
	.venv/bin/python -m pip install --quiet -e '.[dev]'
	@touch $@
