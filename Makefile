# `make help` lists the targets. Everything lives in .venv, build/ and runs/ (and pip's and datasets' own caches).

# python3.11 where it is found, else python3 (which must be at least 3.11).
PYTHON ?= $(shell command -v python3.11 || echo python3)
# torch is not in the lock, since its wheel differs by platform: pip installs this version, from TORCH_INDEX where
# that is set, else from pip's own index.
TORCH_VERSION ?= 2.13.0
TORCH_INDEX ?=
# The resolver behind `make lock`. Everything is in requirements.lock; what an image needs of it, in a lock of its own.
UV_VERSION := 0.13.9
COMPILE = UV_CUSTOM_COMPILE_COMMAND="make lock" build/lock/bin/uv pip compile --quiet --python-version 3.11 \
	--python-platform linux --no-emit-package torch --generate-hashes --no-emit-index-url --no-annotate

# What builds images: docker if its daemon answers, else podman or buildah; and what it is told besides (a network).
IMAGE_BUILDER ?= $(or $(shell docker info > /dev/null 2>&1 && echo docker || command -v podman || command -v buildah),\
	$(error no docker, podman or buildah found; install one, or set IMAGE_BUILDER))
IMAGE_FLAGS ?=
BUILD_IMAGE = $(IMAGE_BUILDER) build $(IMAGE_FLAGS) $(if $(BASE),--build-arg BASE=$(BASE))
# Images are called $(IMAGES)darwin-gpu:$(TAG) and $(IMAGES)darwin-operator:$(TAG): IMAGES=registry.example/team/
IMAGES ?= localhost/
TAG ?= dev
SAVE_IMAGE = $(if $(findstring buildah,$(IMAGE_BUILDER)),$(IMAGE_BUILDER) push --quiet $(1) docker-archive:$(2):$(1),\
	$(IMAGE_BUILDER) save --output $(2) $(1))

# A cluster for tests: the command that starts, loads and breaks one, and the folder of the one that it has started.
DARWIN_CLUSTER ?= tests/kind
DARWIN_CLUSTER_DIR ?=
export DARWIN_CLUSTER DARWIN_CLUSTER_DIR

BIN := .venv/bin
# A test process a core, up to eight: each brings its own S3 server and its own undisturbed run.
PARALLEL := --numprocesses=auto --maxprocesses=8 --dist=worksteal
STAMP := .venv/.stamp
# -qq: only errors are shown. --no-compile: a module is byte-compiled when it is first imported, and most never are.
PIP_INSTALL := $(BIN)/python -m pip --disable-pip-version-check -qq install --no-compile
# The few source distributions are built with the setuptools that torch brought: no build fetches anything unlocked.
LOCKED := --no-deps --no-build-isolation

.DEFAULT_GOAL := help
.PHONY: help setup run test test-all test-cluster faults lint fmt bench bench-overhead bench-s3 bench-scale ablate images load cluster-run crd docs snapshots lock clean

##@ Use
help: ## Show this list
	@awk 'BEGIN {FS = ":.*## "} \
		/^##@ / {printf "\n%s\n", substr($$0, 5)} \
		/^[a-z0-9-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything locked (redone when the lock or pyproject.toml changes)

run: setup ## Evolve the example's real language model, from nothing to verdict
	$(BIN)/python examples/smollm2/make_father.py
	$(BIN)/darwin run examples/smollm2.yaml

##@ Develop
test: setup ## Run the tests, without the slow ones and those that need a Kubernetes
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not cluster"

test-all: setup ## Run every test; those that miss something say what, and are skipped
	$(BIN)/python -m pytest

test-cluster: setup ## Run the tests that need a Kubernetes; those that miss something say what, and are skipped
	$(BIN)/python -m pytest -m "cluster and not slow"

faults: setup ## Run every fault that can befall a run in a cluster, each in a run of its own: four hours
	$(BIN)/python -m pytest -m "cluster and slow"

lint: setup ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fmt: setup ## Format the code and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

bench: setup ## Measure MRI and merge against their peers, about 6 minutes (tables, and JSON in benchmarks/results/)
	$(BIN)/python benchmarks/mri.py
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python benchmarks/merge.py
	$(BIN)/python benchmarks/report.py --write > /dev/null

bench-overhead: setup ## Measure what a candidate costs beside its benchmark, about 7 minutes
	TORCH_INDEX=$(TORCH_INDEX) $(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/report.py --write > /dev/null

bench-s3: setup ## Measure MRI and merge with parents in S3, about 2 minutes
	$(BIN)/python benchmarks/s3.py
	$(BIN)/python benchmarks/report.py --write > /dev/null

bench-scale: setup ## Measure the operator with 10 to 1,000 experiments on pretended nodes (benchmarks/README.md), 10 minutes
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/report.py --write > /dev/null

ablate: setup ## Ablate the method on a small pair, about 25 minutes (PAIR, or $DARWIN_TEST_MATERIAL/parents/tiny-qwen35)
	nice -n 10 $(BIN)/python benchmarks/ablate.py $(if $(PAIR),--parents $(PAIR))

##@ Kubernetes
images: ## Build the worker's and the operator's image (TORCH_INDEX=..., BASE=..., VLLM=...: see the Dockerfiles)
	$(BUILD_IMAGE) --file Dockerfile.operator --tag $(IMAGES)darwin-operator:$(TAG) .
	$(BUILD_IMAGE) --build-arg TORCH_VERSION=$(TORCH_VERSION) --build-arg TORCH_INDEX=$(TORCH_INDEX) \
		--build-arg VLLM=$(VLLM) --file Dockerfile.gpu --tag $(IMAGES)darwin-gpu:$(TAG) .

load: images ## Give both images to the cluster of DARWIN_CLUSTER_DIR
	@mkdir -p build
	for image in operator gpu; do \
		rm -f build/image.tar \
		&& $(call SAVE_IMAGE,$(IMAGES)darwin-$$image:$(TAG),build/image.tar) \
		&& $(DARWIN_CLUSTER) load $(DARWIN_CLUSTER_DIR) build/image.tar || exit 1; \
	done
	rm build/image.tar

# Without DARWIN_CLUSTER_DIR: on the cluster of KUBECONFIG, which has the images or can pull them.
cluster-run: setup $(if $(DARWIN_CLUSTER_DIR),load) ## Run the example on a Kubernetes, from nothing (docs/operator.md)
	$(BIN)/python examples/smollm2/make_father.py
	$(if $(DARWIN_CLUSTER_DIR),KUBECONFIG=$(DARWIN_CLUSTER_DIR)/kubeconfig )$(BIN)/python -m examples.cluster_run \
		--images=$(IMAGES) --tag=$(TAG)

##@ Maintain
# The chart has a copy, not a link: Flux leaves links out of what it fetches.
crd: setup ## Write crds/ and the chart's copy anew from the resource's types
	$(BIN)/python -m darwinmerge_operator.crd crds/darwinmerges.darwinmerge.io.yaml
	cp crds/darwinmerges.darwinmerge.io.yaml charts/darwin-operator/files/crd.yaml

docs: setup ## Write anew docs/manifest.md, the tables of docs/metrics.md, the chart's README, dashboards and alerts
	$(BIN)/python -m darwinmerge.experiment.manual docs/manifest.md
	$(BIN)/python -m darwinmerge_operator.metric docs/metrics.md
	$(BIN)/python -m charts.manual charts/darwin-operator/README.md
	$(BIN)/python -m charts.dashboards charts/darwin-operator/files/dashboards
	$(BIN)/python -m charts.alerts charts/darwin-operator/files/rules.yaml

snapshots: setup ## Write anew what the chart renders (tests/unit/snapshots/chart/); read the diff
	DARWIN_RENEW_SNAPSHOTS=1 $(BIN)/python -m pytest -q tests/unit/test_chart_snapshots.py

lock: ## Resolve pyproject.toml anew into the locks (UPGRADE=1: to the newest versions)
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip --disable-pip-version-check -qq install uv==$(UV_VERSION)
	echo "torch==$(TORCH_VERSION)" > build/lock/torch.txt
	$(COMPILE) --constraint build/lock/torch.txt $(if $(UPGRADE),--upgrade) --all-extras --group setup \
		--output-file requirements.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --constraint build/lock/torch.txt --extra s3 --extra hub --extra torch --extra eval \
		--extra report --group build --output-file requirements.worker.lock pyproject.toml
	$(COMPILE) --constraint requirements.lock --extra operator --group build \
		--output-file requirements.operator.lock pyproject.toml
	rm -rf build/lock

clean: ## Remove .venv, builds and caches; never runs/
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './runs/*' -prune -exec rm -rf {} +

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Darwin needs Python 3.11 or newer, and $(PYTHON) isn't: make setup PYTHON=/path/to/python3.11" >&2; exit 1; }
	@echo "set-up 1/3: .venv and torch $(TORCH_VERSION)"
	@$(PYTHON) -m venv .venv
	@$(PIP_INSTALL) $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX)) torch==$(TORCH_VERSION)
	@echo "set-up 2/3: the packages of requirements.lock"
	@$(PIP_INSTALL) $(LOCKED) --require-hashes -r requirements.lock
	@echo "set-up 3/3: darwinmerge itself, editable"
	@$(PIP_INSTALL) $(LOCKED) --editable .
	@touch $@
