# `make demo` sets up everything and runs the main job; `make test` sets up everything and passes the tests.
PYTHON ?= python3
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE :=  # what Python compiles is kept, whatever the environment says
# One process more than CI has cores, as some tests wait.
WORKERS := -n 3 --dist worksteal

.PHONY: demo test quick lint types unit deaths oldest browser docs bench wheel clean

demo: .venv/ready
	$(BIN)/jepa-sweep run sweeps/quickstart.toml
	@echo
	@echo "JEPA learns large rho first, MAE hardly cares (L = 5, lam = 10, eps = 1e-6):"
	$(BIN)/jepa-sweep query runs/quickstart --where "L = 5 and lam = 10 and eps = 1e-6" --sort rho --limit 0 \
		--columns objective,rho,t_numeric,t_exact,relative_difference,t_leading,status
	@echo
	$(BIN)/jepa-sweep compare runs/quickstart
	@echo
	$(BIN)/jepa-sweep figure critical_times --run runs/quickstart --out figures
	$(BIN)/jepa-sweep explore runs/quickstart
	@echo
	@echo 'The tables are in runs/quickstart; in pandas: pd.read_parquet("runs/quickstart/points").'
	@echo 'A figure of them is in figures/critical_times.png, a page to explore them in runs/quickstart.html.'

test: lint types unit

lint: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/ready
	$(BIN)/basedpyright

unit: .venv/ready browser
	$(BIN)/pytest $(WORKERS)

# Everything but what takes long; compiled programs are kept from one run to the next.
quick: .venv/ready
	$(BIN)/pytest $(WORKERS) -m "not (process or ray or browser or figure or long or wait)"

# Two writers killed at every pair of their operations on files; `make test` tries some of them.
deaths: .venv/ready
	$(BIN)/pytest -n 0 tests/store/test_replay.py -k two_deaths --every-pair

# The tests with the oldest releases that pyproject.toml admits of what it names.
oldest: browser
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python --resolution lowest-direct --editable ".[test]"
	.venv-oldest/bin/pytest $(WORKERS) -m "not process"

# The explorer is tested in a real browser, from Debian's packages where that is possible.
browser:
	@command -v chromium > /dev/null || command -v chromium-browser > /dev/null || command -v google-chrome > /dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null \
			&& apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium > /dev/null; } \
		|| echo "There is no chromium, so the tests of the explorer in a browser are skipped; install it to run them."

# The documentation, into site/; a broken link, anchor, reference or example fails it. The first time npm
# fetches what sets the formulas.
docs: .venv/ready
	$(BIN)/python -m docs.build

bench: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[bench]"
	$(BIN)/python benchmarks/peers.py
	$(BIN)/python benchmarks/sweeps.py
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/limits.py
	$(BIN)/python benchmarks/pages.py

# The wheel in dist/, installed into an environment of its own.
wheel:
	rm -rf dist build/wheel
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	build/wheel/bin/python -m pip install --quiet --disable-pip-version-check dist/*.whl
	cd build && wheel/bin/jepa-sweep --version

# Rebuilt whenever the dependencies change.
.venv/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jepa_sweep needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable ".[test]"
	@touch $@

clean:
	rm -rf .venv .venv-oldest .cache site docs/assets figures build dist .pytest_cache .ruff_cache
