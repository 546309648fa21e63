PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN ?= runs/demo
QUICK := $(wildcard tests/test_*.py) tests/numerics tests/objectives tests/commands
UNFORESEEN ?= runs/unforeseen
DUAL ?= runs/dual
L2P ?= runs/learn2perturb
PAT ?= runs/pat
GAT ?= --seeds 0 1 2 --eps 0.5 1.0 1.5 2.0 2.5 3.0

.PHONY: demo test check lint style types bench reproduce-minmax reproduce-lagrangian \
	reproduce-dual reproduce-learn2perturb reproduce-pat

$(VENV)/installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing requirements.txt into $(VENV): about a minute"
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -r requirements.txt
	touch $@

demo: $(VENV)/installed
	$(BIN)/python train.py --config=configs/demo.py --workdir=$(RUN)
	$(BIN)/python eval.py --config=configs/suites/linf.py --checkpoint=$(RUN)

test: $(VENV)/installed
	$(BIN)/python -m pytest -n 2 --dist loadfile

# What a change breaks most often, in about three minutes.
check: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile $(QUICK)

lint: style types

style: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/installed
	$(BIN)/pyright --pythonpath $(BIN)/python

$(VENV)/bench: $(VENV)/installed
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet --no-deps torchattacks==3.5.1 pyautoattack==0.2.0
	touch $@

$(VENV)/perceptual: $(VENV)/installed
	$(BIN)/pip install --quiet --no-deps stlpips_pytorch==0.0.2
	touch $@

bench: $(VENV)/bench
	$(BIN)/python -m benchmarks.speed.overhead
	$(BIN)/python -m benchmarks.speed.peers
	$(BIN)/python -m benchmarks.speed.devices
	$(BIN)/python -m benchmarks.speed.perceptual
	$(BIN)/python -m benchmarks.speed.smoothing
	$(BIN)/python -m benchmarks.speed.scaling

reproduce-minmax: $(VENV)/installed
	for table in A2 1a A4 2 3 A5 A6 "3 --keep=best" "A5 --keep=best" "A6 --keep=best" \
	    cost; do $(BIN)/python -m benchmarks.papers.minmax.tables runs/minmax --table $$table || exit 1; done
	$(BIN)/python -m benchmarks.papers.minmax.headlines runs/minmax
	for figure in 1 2 A1 A9; do \
	  $(BIN)/python -m benchmarks.papers.minmax.figures runs/minmax --figure $$figure || exit 1; done
	$(BIN)/python -m benchmarks.papers.generalized.tables $(GAT)
	$(BIN)/python -m benchmarks.papers.generalized.figures $(GAT)
	$(BIN)/python -m benchmarks.papers.generalized.cost

reproduce-lagrangian: $(VENV)/installed
	$(BIN)/python -m benchmarks.papers.lagrangian.tables $(UNFORESEEN) $(LAGRANGIAN)
	for table in 3 4 5 6 7 f2b; do \
	  $(BIN)/python -m benchmarks.papers.lagrangian.analyses $(UNFORESEEN)/shapes \
	    --table $$table --alexnet=$(UNFORESEEN)/shapes/alexnet || exit 1; done
	for figure in 2 4 5 8 9; do \
	  $(BIN)/python -m benchmarks.papers.lagrangian.figures $(UNFORESEEN)/shapes \
	    --figure $$figure || exit 1; done
	$(BIN)/python -m benchmarks.papers.lagrangian.tables $(UNFORESEEN) --data=fashion_mnist
	$(BIN)/python -m benchmarks.papers.lagrangian.cost

reproduce-pat: $(VENV)/perceptual
	for table in trainings bounds projections; do \
	  $(BIN)/python -m benchmarks.papers.perceptual.tables $(PAT) --table $$table || exit 1; done
	for figure in overlap strength correlation distances; do \
	  $(BIN)/python -m benchmarks.papers.perceptual.figures $(PAT) --figure $$figure || exit 1; done

reproduce-dual: $(VENV)/installed
	for table in attacks eps_f eps_b lam smoothing; do \
	  $(BIN)/python -m benchmarks.papers.dual.tables $(DUAL) --table $$table || exit 1; done
	for figure in gradients examples; do \
	  $(BIN)/python -m benchmarks.papers.dual.figures $(DUAL) --figure $$figure || exit 1; done

reproduce-learn2perturb: $(VENV)/installed
	for table in attacks eot pixels transfer; do \
	  $(BIN)/python -m benchmarks.papers.learn2perturb.tables $(L2P) --table $$table || exit 1; done
	for figure in noise eps; do \
	  $(BIN)/python -m benchmarks.papers.learn2perturb.figures $(L2P) --figure $$figure || exit 1; done
