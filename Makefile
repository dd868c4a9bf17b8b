# setup · demo · test · check · plan · report · lock; each sets up .venv by itself, and setting up twice costs nothing.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
CORES ?= all
ARGS ?=

# torch first and by exact version: machines with a CUDA device get the CUDA build, build machines may hold a CPU build,
# and nothing in the lock can replace it (envs/README.md)
TORCH := torch==2.13.0 numpy==2.3.5

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport PYTHONPATH PYTHONHOME

.PHONY: setup demo test check plan report lock clean

setup: $(READY)

$(READY): envs/base.lock pyproject.toml kernels/pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is too old; give Python 3.11 or newer with make PYTHON=..." >&2; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	pip install --quiet $(TORCH)
	pip install --quiet --no-deps --require-hashes -r envs/base.lock
	pip install --quiet --no-deps --no-build-isolation -e kernels -e .
	touch $@

demo: setup
	snakemake --cores $(CORES) $(ARGS)
	@echo "The report is in results/report/index.html"

plan: setup
	snakemake --cores $(CORES) --dry-run --quiet rules $(ARGS)

test: setup
	pytest -n 2 --dist loadfile $(ARGS)

check: setup
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check workflow
	snakemake --lint

report: setup
	snakemake --cores $(CORES) --report results/report/snakemake.html $(ARGS)
	@echo "The run's own report is in results/report/snakemake.html"

# writes envs/base.lock anew from envs/base.in (needs uv: pip install uv)
lock:
	printf 'torch\n' > .venv/.excludes
	uv pip compile --generate-hashes --no-header --no-annotate --universal --python-version 3.11 \
		--excludes .venv/.excludes envs/base.in -o envs/base.lock

clean:
	rm -rf results logs .snakemake
