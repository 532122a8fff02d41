# The main job: `make demo`. The tests: `make test`. Both need root, Debian 12 and a Rust toolchain; the rest they install.

CARGO ?= cargo
export INSTA_UPDATE = no
HOST := $(shell rustc -vV | sed -n 's/^host: //p')

# Compose files with the models that Docker Compose makes of them, of other people and so outside of this repository.
CORPUS ?= ../shared/corpus

.PHONY: demo demo-down test test-apps test-faults test-ship test-corpus bench check build build-tests helper package packages
.DEFAULT_GOAL := build

# Boots a cluster of two instances and tells the story of tests/example-app on it. KEEP=1 leaves the cluster running.
demo: build
	target/release/lab demo $(if $(KEEP),--keep)

# Ends a cluster that was left running.
demo-down: build
	target/release/lab down

# Everything: format, lints, unit, property and snapshot tests, and the promises on a booted cluster.
test: build-tests
	$(CARGO) fmt --all --check
	CARGO=$(CARGO) tests/everything

# Real applications with real data, under Docker Compose and on a booted cluster; writes docs/applications.md.
# Some alone, without writing: `cargo test --release --test apps -- NAME`.
test-apps: build-tests
	$(CARGO) test --release --locked --workspace --test apps

# The fault matrix: breaks everything that can break on a booted cluster and writes what was seen to docs/faults.md; and two patchers in
# every order of their steps, for longer than `make test` has time for. Some rows of the matrix
# alone, without writing: `cargo test --release --test faults -- NAME`.
test-faults: build-tests
	INTERLEAVINGS=all $(CARGO) test --release --locked --workspace --test interleavings
	$(CARGO) test --release --locked --workspace --test faults

# What is shipped, as operators get it: the packages on clean instances, an image that Packer builds, the stack by CloudFormation; licences and
# sources of all dependencies. Some acts alone: `cargo test --release --test ship -- NAME`.
test-ship: build-tests
	agent/package/build
	tests/install-packages binutils lintian packer rpm rpmlint
	tests/infrastructure
	tests/supply-chain
	$(CARGO) test --release --locked --workspace --test ship

# The compose reader against Docker Compose's own answers; without the corpus it fails.
test-corpus: build-tests
	CORPUS=$(CORPUS) target/release/corpus

# The mount half on a booted instance beside its floors; the leader's rounds beside a plain client of the same SDK; the compose reader against
# the Go Docker Compose of a newer Debian.
bench: package
	$(CARGO) bench --profile release --locked -p volumes-agent-tests --bench fleet
	PACKAGED=$(abspath target/x86_64-unknown-linux-gnu/dist/volumes-agent) \
		$(CARGO) bench --profile release --locked -p volumes-agent-tests --bench mount
	tests/install-compose .lab/cache/compose
	CORPUS=$(abspath $(CORPUS)) PEER=$(abspath .lab/cache/compose/docker-compose) \
		$(CARGO) bench --profile release --locked -p volumes-agent-tests --bench config

# The .deb and the .rpm, in dist/.
package: build
	agent/package/build

check: packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --locked --workspace --test faults --test apps --test ship -- -D warnings

# One profile for demo and tests: compiled once. Packages have one of their own.
build: helper
	$(CARGO) build --release --locked --workspace

# The programs as the tests have them: with what only tests need some crates have more features, and all is compiled for that once.
build-tests: helper
	$(CARGO) build --release --locked --workspace --bins --tests

# What fills new volumes runs inside of other people's images, which have no libraries for it: linked statically, and copied to the other programs.
helper: packages
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --release --locked --target $(HOST) --package volumes-agent-seed
	mkdir -p target/release/static
	cp --update target/$(HOST)/release/volumes-agent-seed target/release/static/

packages:
	tests/install-packages
