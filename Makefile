# One command each; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

BIN := target/release
PARTS := -p aegis-proxy -p aegis-control-api -p aegis-verify -p aegis-dev

.PHONY: help deps run demo build test e2e chaos bench load soak watch fuzz fmt clippy docs deny ci dist clean-dev

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

deps: ## install what building needs (C compiler, cmake)
	@deploy/dev/deps.sh build

test-deps:
	@deploy/dev/deps.sh build test

build: deps
	cargo build --release $(PARTS)

run: build ## build, start everything here, show a dozen governed calls, stay up until Ctrl-C
	$(BIN)/aegis-dev $(ARGS)

demo: build ## the same, then stop; succeeds only if every outcome was the expected one
	rm -rf target/demo
	$(BIN)/aegis-dev --data target/demo --port-base 18000 --demo-only $(ARGS)

# The suites drive the real binaries; all are built once, in one profile.
test: test-deps ## all tests: unit, architecture, end to end, chaos; on SQLite and PostgreSQL
	cargo build --workspace --bins --tests
	cargo test --workspace

e2e: test-deps ## only the end-to-end suite
	cargo build --workspace --bins
	cargo test -p aegis-tests --test e2e

chaos: test-deps ## only the suite that kills, starves and cuts off
	cargo build --workspace --bins
	cargo test -p aegis-tests --test chaos

bench: deps ## micro benchmarks of the pipeline and the ledger
	cargo bench -p aegis-benches

load: build ## end-to-end load beside nginx pass-through (nginx must be installed)
	cargo build --release -p aegis-benches
	$(BIN)/load $(ARGS)

soak: build ## an hour of mixed load at a steady pace, with the memory of both processes
	cargo build --release -p aegis-benches
	$(BIN)/soak $(ARGS)

watch: build ## 2 000 sidecars on one control plane: how long until a kill switch has reached all
	cargo build --release -p aegis-benches
	$(BIN)/watch $(ARGS)

# Nightly's flags on the stable toolchain; `cargo install cargo-fuzz` first. SECONDS_EACH=600 by default.
SECONDS_EACH ?= 600
fuzz: deps ## fuzz the readers of calls, entries, notes, checkpoints, proofs and bundles, ten minutes each
	cd tests/fuzz && for target in tool_call entry note checkpoint proof bundle; do \
	  RUSTC_BOOTSTRAP=1 cargo fuzz run $$target -- -max_total_time=$(SECONDS_EACH) -max_len=65536; done

fmt: ## format
	cargo fmt --all

clippy: ## lints, warnings are errors
	cargo clippy --workspace --all-targets -- -D warnings

docs: ## API documentation of the crates, warnings are errors
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

deny: ## licences, bans and sources of dependencies (needs cargo-deny)
	cargo deny --config .deny.toml check bans licenses sources

ci: ## what CI runs
	.ci/run

dist: deps ## what ships: thin LTO, one codegen unit
	cargo build --profile dist -p aegis-proxy -p aegis-control-api -p aegis-verify

clean-dev: ## forget the state of `make run`
	rm -rf .dev
