# "make" alone lists what there is.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory

# Debian keeps the daemons, and some tarballs of Go the tools, elsewhere.
export PATH := $(PATH):/usr/local/go/bin:/usr/sbin:/sbin

GO       ?= go
VERSION  ?= $(shell git describe --always --dirty 2>/dev/null || echo devel)
DATAPATH ?= netdev
SOAK     ?= 10m
BENCH    ?= .
SIZES    ?= 100,1000,10000,100000
CHURN    ?= 60s
TIMEOUT  ?= 15m
FUZZ     ?= 5s
SAMPLE   ?= 60

# Decoders of manifests and of OpenFlow: package:test.
FUZZERS = policy/manifest:FuzzDecode flows/openflow:FuzzDecodeFlowStats flows/openflow:FuzzDecodeError \
	flows/openflow:FuzzDecodePorts flows/openflow:FuzzHello flows/openflow:FuzzReportsForeign

# Where git refuses to speak (root in somebody's clone) go must not ask it.
export GOFLAGS := $(GOFLAGS) $(shell git rev-parse HEAD >/dev/null 2>&1 || echo -buildvcs=false)

# Packages with tests that need neither Open vSwitch nor root, but for
# those of flows/compile that ask a switch.
FAST = ./policy/... ./flows ./flows/pipeline ./flows/compile ./cmd/...
ASK  = ^TestExact|OnSwitch|ThroughConn
# Packages with tests against a private Open vSwitch.
OVS  = ./ovsdb/... ./flows/... ./controller/...
# Packages with tests that send packets; they need root.
TRAFFIC = ./testbed/...

.PHONY: help demo build test test-fast test-ovs test-traffic fuzz bench bench-agent bench-go soak exact mutate lint golden map cover provision tools clean

help: ## List the targets.
	@echo 'make demo    see it work, in ten seconds       make test    try everything'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: provision build ## Show it at work; KEEP=1: stay up to play with; DATAPATH=system: the kernel datapath.
	@$(GO) build -o bin/demo ./testbed/demo
	@bin/demo --datapath $(DATAPATH) $(if $(filter-out 0,$(KEEP)),--keep)

build: tools ## Build bin/ovs-sg.
	@$(GO) build -ldflags '-X main.version=$(VERSION)' -o bin/ovs-sg ./cmd/ovs-sg

test: provision build fuzz ## Run every test, with the race detector, and fuzz for a while. Needs root.
	$(GO) vet ./...
	@echo 'The race detector is slow: the flows are held against the reference without it, then with.'
	REQUIRE_OVS=1 $(GO) test ./flows/compile -timeout $(TIMEOUT) -v -run '^TestExact$$' | grep -v '^==='
	REQUIRE_OVS=1 $(GO) test -race -timeout $(TIMEOUT) ./...

fuzz: tools ## Fuzz what is read from outside, FUZZ=5s for each decoder.
	@# At the end of its time the fuzzer may fail with nothing but "context deadline
	@# exceeded". A finding is written to testdata, and fails the second time too.
	@for target in $(FUZZERS); do \
		fuzz() { $(GO) test "./$${target%:*}" -run '^$$' -fuzz "^$${target#*:}$$" -fuzztime $(FUZZ) 2>&1; }; \
		out=$$(fuzz) || { echo "$$out"; echo "$$target: once more"; out=$$(fuzz) || { echo "$$out"; exit 1; }; }; \
		echo "$$out" | tail -2; \
	done

test-fast: tools ## Run the tests that need neither Open vSwitch nor root.
	$(GO) test -short -skip '$(ASK)' $(FAST)

test-ovs: provision ## Run the tests against a private Open vSwitch without packets.
	REQUIRE_OVS=1 $(GO) test -timeout $(TIMEOUT) $(OVS)

test-traffic: provision ## Run the tests that send packets between namespaces. Needs root.
	REQUIRE_OVS=1 $(GO) test -timeout $(TIMEOUT) $(TRAFFIC)

bench: bench-agent bench-go ## Both of the following, in ten minutes.

bench-agent: provision build ## Measure agent and data path beside the machine's limit; SIZES=100,1000 CHURN=60s ONLY=cold,change. Needs root.
	@$(GO) build -o bin/bench ./testbed/bench
	@bin/bench --sizes $(SIZES) --churn $(CHURN) $(if $(ONLY),--only $(ONLY),--doc docs/performance.md)

bench-go: provision ## Run the Go benchmarks; BENCH=expression chooses.
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchtime 200ms -benchmem ./policy/... ./flows/... ./ovsdb/... ./controller

soak: provision ## Random policies, chaos and packets, in rounds of SOAK=10m, until one fails or you stop it.
	@n=0; while :; do \
		n=$$((n + 1)); echo "round $$n"; \
		REQUIRE_OVS=1 $(GO) test ./flows/compile -count=1 -timeout 0 -run '^TestExact$$' -soak $(SOAK); \
		REQUIRE_OVS=1 $(GO) test ./testbed/e2e -count=1 -timeout 0 -run '^TestChaos$$' -chaos $(SOAK); \
		REQUIRE_OVS=1 $(GO) test -count=1 -timeout $(TIMEOUT) $(TRAFFIC); \
	done

exact: provision ## Hold the flows against the reference on random policies for SOAK=10m; SEED=n: replay one.
	REQUIRE_OVS=1 $(GO) test ./flows/compile -count=1 -timeout 0 -v -run '^TestExact$$' $(if $(SEED),-seed $(SEED),-soak $(SOAK))

mutate: provision ## Plant mistakes in what makes flows, one at a time: none survives the tests without a reason. SAMPLE=60 are drawn; 0: all, for hours.
	$(GO) run ./testbed/mutate -sample $(SAMPLE)

lint: tools ## Run go vet, gofmt and, if it is installed, golangci-lint.
	$(GO) vet ./...
	@bad="$$(gofmt -l $$(git ls-files '*.go'))"; if [[ -n $$bad ]]; then echo "gofmt -w: $$bad" >&2; exit 1; fi
	@if command -v golangci-lint >/dev/null; then golangci-lint run; else echo 'golangci-lint is not installed: skipped'; fi

golden: provision ## Rewrite the golden flows; read the diff as an operator would.
	$(GO) test ./flows/compile -run 'CompileGolden|TestLayout' -update
	@git --no-pager diff --stat -- flows/compile/testdata

map: tools ## Redraw the map of the packages in docs/contributing.md.
	@$(GO) test . -run '^TestMap$$' -update

cover: provision ## Show what the tests leave out; bin/cover.html has the lines.
	@mkdir -p bin
	REQUIRE_OVS=1 $(GO) test -timeout $(TIMEOUT) -coverpkg=./... -coverprofile=bin/cover.out ./...
	@$(GO) tool cover -html=bin/cover.out -o bin/cover.html
	@$(GO) tool cover -func=bin/cover.out | tail -1

# Open vSwitch and iproute2 by the script; a C compiler for the race detector.
provision: tools ## Install what is missing on Debian: Open vSwitch, iproute2, gcc. Needs root to install.
	@testbed/provision.sh
	@if ! echo 'int main(void) { return 0; }' | $$($(GO) env CC) -x c -o /dev/null - 2>/dev/null; then \
		if [[ $$(id -u) -ne 0 ]] || ! command -v apt-get >/dev/null; then \
			echo 'missing: a C compiler, which go test -race needs (gcc and libc6-dev; as root: make provision)' >&2; exit 1; \
		fi; \
		echo 'provision: installing gcc libc6-dev'; \
		export DEBIAN_FRONTEND=noninteractive; \
		install() { apt-get -o DPkg::Lock::Timeout=300 -y --no-install-recommends install gcc libc6-dev; }; \
		install || { apt-get -o DPkg::Lock::Timeout=300 update; install; }; \
	fi

# What cannot be installed from here.
tools:
	@for tool in $(GO) git; do \
		command -v $$tool >/dev/null || { echo "missing: $$tool" >&2; exit 1; }; \
	done

clean: ## Remove what was built.
	rm -rf bin
