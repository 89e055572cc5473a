# `make` lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= build/demo
DATASET ?= iemocap
UTTERANCES ?= 600
EPOCHS ?= 7

.PHONY: help install demo test cpp lint docs bench clean

help: ## List the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

install: $(VENV)/.installed ## Virtual environment with everything in it

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --editable '.[cpu,video,vad,microphone,plot,serve,ray,openvino,rtx,train,lora,export,bench,docs,dev]'
	touch $@

demo: install ## The main job once: train, export, predict, bench (DATA=folder DATASET=name: on your corpus)
	PATH="$(CURDIR)/$(BIN):$$PATH" DATA="$(DATA)" DATASET=$(DATASET) UTTERANCES=$(UTTERANCES) EPOCHS=$(EPOCHS) \
	  bash bench/demo.sh $(DEMO)

test: install ## The tests
	$(BIN)/pytest -q -n 2 --dist loadfile

cpp: install ## The C and C++ SDK: build and tests (SANITIZE=address,undefined or thread: with these)
	bash runtime/cpp/check.sh build/cpp $(BIN) $(DEMO)/runs/full/bundle $(SANITIZE)

lint: install ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright

docs: install ## The documentation as a site in build/site, links checked
	$(BIN)/mkdocs build --strict --quiet

bench: install ## Epoch times: padded against bucketed batches, with and without cached frozen layers
	$(BIN)/mtab-train synth --layout iemocap --out $(DEMO)/bench --utterances 200 --seed 0 --overwrite
	$(BIN)/mtab-bench training --dataset iemocap --data-dir $(DEMO)/bench

clean: ## Remove what the demo made
	rm -rf $(DEMO)
