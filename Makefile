# Weir. "make help" lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

MODULES := schemas bpf services/internal/kit services/internal/gokakit services/internal/detect services/probe services/aggregator services/policy services/ring services/weir loadtest
# What make build puts into bin: the package's directory, and the program's name.
PROGRAMS := services/probe=weir-probe services/aggregator=weir-aggregator services/policy=weir-policy services/ring=weir-ring \
	services/weir=weir loadtest/cmd/embedded-broker=embedded-broker loadtest/cmd/loadtest=loadtest
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
export WEIR_BIN := $(CURDIR)/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | sed 's/:.*## /\t/' | expand -t 18

# One go build for all: it shares what they have in common and uses every processor.
# Programs are named after their directories there, so they get their names here.
.PHONY: build
build: ## build every program into ./bin (static)
	@command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or later"; exit 1; }
	@mkdir -p bin build/programs
	CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o build/programs/ \
		$(foreach p,$(PROGRAMS),./$(firstword $(subst =, ,$(p))))
	@for p in $(PROGRAMS); do d=$${p%=*}; ln -f build/programs/$${d##*/} bin/$${p#*=} || exit 1; done

.PHONY: root
root:
	@[ "$$(uname -s)" = Linux ] || { echo "this needs Linux 6.1 or later"; exit 1; }
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: sudo env PATH=\"$$PATH\" make $(MAKECMDGOALS)"; exit 1; }
	@[ "$$(printf '6.1\n%s\n' "$$(uname -r)" | sort -V | head -1)" = 6.1 ] || { echo "Linux $$(uname -r) is too old: 6.1 or later is needed"; exit 1; }
	@[ -e /sys/kernel/btf/vmlinux ] || { echo "this kernel has no BTF: one built with CONFIG_DEBUG_INFO_BTF is needed"; exit 1; }
	@[ "$$(stat -f -c %T /sys/fs/bpf 2>/dev/null)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf || { echo "no bpffs, and none could be mounted: mount -t bpf bpf /sys/fs/bpf"; exit 1; }

.PHONY: demo
demo: root build ## watch floods hit an interface and be dropped (KEEP=1 leaves it running)
	@bin/loadtest demo

.PHONY: run
run: root build ## run all services on a real interface, observing only: make run IFACE=eth0
	@[ -n "$(IFACE)" ] || { echo "say which: make run IFACE=eth0"; exit 1; }
	@bin/loadtest run --iface $(IFACE)

.PHONY: bench
bench: root build ## what a packet costs, beside the floor and other designs, and the page about it (12 minutes)
	@bin/loadtest bench -o loadtest/results

.PHONY: bench-check
bench-check: root build ## fails when the data plane misses one of its goals 1 to 6 (3 minutes)
	@bin/loadtest bench -check

.PHONY: bench-page
bench-page: build ## write the page and the plots of the results that are there
	@bin/loadtest bench-page

.PHONY: bench-ttm
bench-ttm: root build ## time to mitigate, 20 repeats of each flood, and where the time goes
	@bin/loadtest bench-ttm

.PHONY: bench-scale
bench-scale: root build ## how many interfaces an aggregator and a policy keep up with
	@bin/loadtest bench-scale

# Captures are never part of the repository: a directory of them has a labels.json.
WEIR_CAPTURES ?= $(wildcard $(abspath ../shared/pcaps))
.PHONY: eval
eval: root build ## hold the rules against labelled captures: WEIR_CAPTURES names the directory, QUICK=1 is short
	@WEIR_CAPTURES="$(WEIR_CAPTURES)" QUICK="$(QUICK)" bin/loadtest eval

.PHONY: test
test: root packages build ## run every test; installs what is missing
	@.ci/test $(MODULES) .ci

.PHONY: test-unit
test-unit: ## run the tests that need no root
	@.ci/test schemas services/internal/kit services/internal/gokakit services/internal/detect services/aggregator services/policy services/weir .ci

.PHONY: test-bpf
test-bpf: root ## run the tests of the kernel side and of the probe
	@.ci/test bpf services/probe

.PHONY: fuzz
fuzz: root ## random frames through random filters, held against a model (FUZZ_MINUTES=10 FUZZ_SEED=…)
	@cd bpf && GOWORK=off FUZZ_MINUTES=$(or $(FUZZ_MINUTES),10) go test -count=1 -v -timeout 24h -run 'TestFuzz$$' ./xdp

.PHONY: test-kernels
test-kernels: root ## run the data plane's tests on Debian's kernels in qemu and on this one (KERNELS=6.1,running RUN=TestFrames RESULTS=file)
	@command -v qemu-system-x86_64 >/dev/null || apt-get install -y -qq --no-install-recommends qemu-system-x86
	@go run ./loadtest/kernels -only "$(KERNELS)" -run "$(RUN)" -results "$(RESULTS)"

.PHONY: test-e2e
test-e2e: root build ## run the whole loop over veth, on the embedded broker and on Kafka, and the page in Chromium
	@.ci/test loadtest services/ring

.PHONY: packages
packages: ## install the Debian packages that tests and code generation use
	@.ci/packages

# The pair in the repository was made by clang 14; any clang makes one that works.
generate: export BPF2GO_CC ?= $(notdir $(shell command -v clang-14 || echo clang))
.PHONY: generate
generate: ## generate the BPF object and the protobuf code anew
	@cd bpf/xdp && GOWORK=off go generate ./...
	@cd schemas && GOWORK=off go generate ./...
	@cd loadtest && GOWORK=off go generate ./bench/...

.PHONY: check-generated
check-generated: packages ## generating anew changes nothing
	@before=$$(mktemp) && git ls-files | grep -E '(_bpfe[lb]\.(go|o)|\.pb\.go)$$' | xargs sha256sum >$$before && \
	$(MAKE) --no-print-directory generate && sha256sum --quiet -c $$before && rm $$before || \
	{ echo "generated files differ: commit what make generate makes"; exit 1; }

.PHONY: lint
lint: ## golangci-lint, tidy modules, dependency rules, C format, shell scripts
	@.ci/lint $(MODULES)

.PHONY: deps-check
deps-check: ## who imports whom, file sizes, names
	@cd .ci && GOWORK=off go run ./rules ..

.PHONY: tidy-check
tidy-check: ## every go.mod says what its module needs, no more
	@for m in $(MODULES) .ci; do (cd $$m && GOWORK=off go mod tidy -diff) || { echo "not tidy: $$m"; exit 1; }; done

.PHONY: gowork-off
gowork-off: ## every module builds and vets by itself
	@for m in $(MODULES) .ci; do (cd $$m && GOWORK=off go build ./... && GOWORK=off go vet ./...) || { echo "failed: $$m"; exit 1; }; done

.PHONY: check-cli
check-cli: ## the command line builds for macOS and Windows
	@for os in darwin windows; do (cd services/weir && GOWORK=off GOOS=$$os CGO_ENABLED=0 go build -o /dev/null .) || exit 1; done

.PHONY: docs
docs: build ## write the environment tables into the README
	@.ci/docs

.PHONY: docs-demo
docs-demo: root build ## run the demo and write what it printed into the README
	@bin/loadtest demo >build/demo.txt && .ci/docs && rm build/demo.txt

.PHONY: screenshots
screenshots: root packages build ## make the README's pictures of the page and the terminal, from the real thing
	@cd loadtest && go run ./cmd/screenshots -bin $(WEIR_BIN) -out ../docs/images

.PHONY: bench-ring
bench-ring: packages ## load of the page: 1,000 interfaces of 50 sources at 4 updates/s, recorded in loadtest/results/ring.md
	@cd services/ring && WEIR_RESULTS=$(CURDIR)/loadtest/results/ring.md go test -tags load ./e2e -run TestLoad -count=1 -v

.PHONY: fmt
fmt: ## format Go and C
	@gofmt -w $(MODULES) .ci
	@clang-format -i bpf/include/*.h bpf/xdp/*.h bpf/xdp/*.c loadtest/bench/peers/*.c

ENGINE ?= docker
.PHONY: images
images: build ## build a container image per service (ENGINE=docker or podman)
	for n in $(filter-out loadtest,$(foreach p,$(PROGRAMS),$(lastword $(subst =, ,$(p))))); do \
		$(ENGINE) build -q -f deploy/containers/Containerfile --build-arg NAME=$$n -t $$n bin || exit 1; done

PREFIX ?= /usr/local
.PHONY: install
install: build ## install binaries and systemd units (DESTDIR=, PREFIX=/usr/local)
	install -D -t $(DESTDIR)$(PREFIX)/bin bin/weir bin/weir-probe bin/weir-aggregator bin/weir-policy bin/weir-ring
	install -d $(DESTDIR)/etc/systemd/system
	for u in deploy/systemd/*.service; do sed 's#/usr/local/bin#$(PREFIX)/bin#' $$u >$(DESTDIR)/etc/systemd/system/$${u##*/}; done

.PHONY: clean
clean: ## remove what was built, and what a killed demo left behind
	@[ ! -x bin/loadtest ] || bin/loadtest clean
	@rm -rf bin build
