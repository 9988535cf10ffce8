# Every target echoes the weft command that it runs, so that you can run it without make.
#
#   make train CONFIG=configs/my.yaml train.epochs=5 'datasets[0].weight=0.8'
#
# Words like `train.epochs=5` are handed to weft as they stand. make takes them for variables of the command line, so they
# are collected again by their origin: every such variable that is not one of make's own settings below is an override.

PYTHON ?= python3
VENV ?= .venv
CONFIG ?=
STYLE ?=
INPUT_FILE ?=
ARGS ?=
SIZE ?= nano
TEXT ?= examples/quickstart/raw
OUT ?= models/$(SIZE)

SETTINGS := PYTHON VENV CONFIG STYLE INPUT_FILE ARGS SIZE TEXT OUT SHELL MAKEFLAGS MAKEOVERRIDES MFLAGS V
quote = '$(subst ','\'',$(1))'
from_command_line = $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
OVERRIDES = $(foreach name,$(sort $(filter-out $(SETTINGS),$(from_command_line))),$(call quote,$(name)=$(value $(name))))

BIN := $(VENV)/bin
WEFT := $(BIN)/weft
READY := $(VENV)/.ready
RUN = $(strip $(if $(CONFIG),$(call quote,$(CONFIG))) $(OVERRIDES) $(ARGS))

QUICKSTART := configs/quickstart.yaml
.DEFAULT_GOAL := help
.PHONY: help quickstart setup init-model prepare process style render check show train train-tb train-bnb train-bnb-tb train-unsloth \
	tensorboard infer infer-batch eval eval-quick eval-full merge doctor clean lint format test test-all bench-step bench-peers \
	bench-prepare bench-masks

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z -]+:.*## / { split($$1, names, " "); printf "  make %-15s %s\n", names[1], $$2 }' Makefile
	@printf '\nTargets take CONFIG=file.yaml, any key=value of the configuration, and ARGS="--flags of the weft command".\n'

setup: $(READY) ## Create the environment in .venv (every target does this by itself)

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "weft needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,tensorboard]'
	@touch $@

quickstart: $(READY) models/nano/config.json ## Prepare, check, train, evaluate and answer on weft's own records, in minutes
	$(WEFT) prepare $(QUICKSTART) $(OVERRIDES)
	$(WEFT) check $(QUICKSTART) $(OVERRIDES)
	$(WEFT) show $(QUICKSTART) -n 1 $(OVERRIDES)
	$(WEFT) train $(QUICKSTART) $(OVERRIDES)
	$(WEFT) eval $(QUICKSTART) --compare --set trained_questions --set unseen_paraphrases $(OVERRIDES)
	$(WEFT) infer $(QUICKSTART) --prompt 'What is weft?' --prompt 'What does weft merge produce?' $(OVERRIDES)

models/nano/config.json: | $(READY)
	$(WEFT) init-model nano --text examples/quickstart/raw --out models/nano

init-model: $(READY) ## Make a small base model from text: SIZE=nano|micro|small TEXT="files" OUT=models/nano
	$(WEFT) init-model $(SIZE) --text $(TEXT) --out $(OUT)

prepare process: $(READY) ## Raw records into train, validation and test files, with STYLE="…" if there is one
	$(WEFT) prepare $(RUN)$(if $(value STYLE), --style $(call quote,$(value STYLE)))

style: $(READY) ## Add an instruction to every system message: STYLE="Be concise.", or ARGS=--undo
	$(WEFT) style $(RUN)$(if $(value STYLE), --style $(call quote,$(value STYLE)))

render: $(READY) ## Print records as the model will read them
	$(WEFT) render $(RUN)

check: $(READY) ## Will this train what I think?
	$(WEFT) check $(RUN)

show: $(READY) ## Colour tokens by context and trained
	$(WEFT) show $(RUN)

train: $(READY) ## Fine-tune the model
	$(WEFT) train $(RUN)

train-tb: $(READY) ## ... with TensorBoard logs
	$(WEFT) train $(RUN) train.report_to=tensorboard

train-bnb: $(READY) ## ... on a 4-bit model (bitsandbytes; comes later)
	$(WEFT) train $(RUN) tuning.backend=bnb

train-bnb-tb: $(READY) ## ... on a 4-bit model, with TensorBoard logs (comes later)
	$(WEFT) train $(RUN) tuning.backend=bnb train.report_to=tensorboard

train-unsloth: $(READY) ## ... with Unsloth (comes later)
	$(WEFT) train $(RUN) tuning.backend=unsloth

tensorboard: $(READY) ## Show the TensorBoard logs of all runs
	$(BIN)/tensorboard --logdir outputs

infer: $(READY) ## Chat with the tuned model (with the base model where nothing is trained)
	$(WEFT) chat $(RUN)

infer-batch: $(READY) ## Answer the questions of INPUT_FILE, or of standard input
	$(WEFT) infer $(RUN) $(if $(INPUT_FILE),--input $(call quote,$(value INPUT_FILE)))

eval: $(READY) ## Score the model on the validation set
	$(WEFT) eval $(RUN)

eval-quick: $(READY) ## ... on 200 records of it
	$(WEFT) eval $(RUN) --quick

eval-full: $(READY) ## ... on every evaluation set
	$(WEFT) eval $(RUN) --full

merge: $(READY) ## Fold the adapter into its base model
	$(WEFT) merge $(RUN)

doctor: $(READY) ## Versions, devices, and what is missing
	$(WEFT) doctor $(ARGS)

clean: $(READY) ## Remove prepared files and caches; never raw data, models or runs
	$(WEFT) prepare $(RUN) --clean
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

lint: $(READY) ## ruff, mypy, import-linter, codespell, generated files
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python -m weft.config.reference --check

format: $(READY) ## Format the code and regenerate docs/config.md and configs/config_base.yaml
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python -m weft.config.reference --write

test: $(READY) ## The test suite, under ten minutes on two cores
	$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder $(ARGS)

test-all: $(READY) ## ... with the slow tests and new random examples, about an hour
	$(BIN)/python -m pytest -n auto --dist loadscope --no-loadscope-reorder -m '' --hypothesis-profile=explore $(ARGS)

bench-step: $(READY) ## weft's step against the machine's peak, by tokens and by part; on an idle machine
	$(BIN)/python -m benchmarks.bench_step $(ARGS)

bench-peers: $(READY) ## weft against TRL and LLaMA-Factory, in environments of their own; on an idle machine
	$(BIN)/python -m benchmarks.bench_peers $(ARGS)

bench-prepare: $(READY) ## weft's preparation of data against TRL's, in an environment of its own; on an idle machine
	$(BIN)/python -m benchmarks.bench_prepare $(ARGS)

bench-masks: $(READY) ## What it takes to derive masks, by template and shape of conversation
	$(BIN)/python -m benchmarks.bench_masks $(ARGS)
