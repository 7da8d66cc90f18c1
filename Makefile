# Weir. "make help" lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

MODULES := schemas bpf services/internal/kit services/internal/gokakit services/probe services/aggregator services/policy services/ring services/weir loadtest
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo dev)
GOBUILD := CGO_ENABLED=0 go build -buildvcs=false -trimpath -ldflags "-s -w -X main.version=$(VERSION)"
export WEIR_BIN := $(CURDIR)/bin

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | sed 's/:.*## /\t/' | expand -t 18

.PHONY: build
build: ## build every binary into ./bin (static)
	@mkdir -p bin
	@command -v go >/dev/null || { echo "Go is missing: install Go 1.26 or later"; exit 1; }
	cd services/probe && $(GOBUILD) -o ../../bin/weir-probe .
	cd services/aggregator && $(GOBUILD) -o ../../bin/weir-aggregator .
	cd services/policy && $(GOBUILD) -o ../../bin/weir-policy .
	cd services/weir && $(GOBUILD) -o ../../bin/weir .
	cd services/ring && $(GOBUILD) -o ../../bin/weir-ring .
	cd loadtest && $(GOBUILD) -o ../bin/embedded-broker ./cmd/embedded-broker
	cd loadtest && $(GOBUILD) -o ../bin/loadtest ./cmd/loadtest

.PHONY: root
root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: sudo make $(MAKECMDGOALS)"; exit 1; }
	@[ -e /sys/kernel/btf/vmlinux ] || { echo "this kernel has no BTF: Linux 6.1 or later with CONFIG_DEBUG_INFO_BTF is needed"; exit 1; }
	@[ "$$(stat -f -c %T /sys/fs/bpf 2>/dev/null)" = bpf_fs ] || mount -t bpf bpf /sys/fs/bpf || { echo "mount a bpffs: mount -t bpf bpf /sys/fs/bpf"; exit 1; }

.PHONY: demo
demo: root build ## watch floods hit an interface and be dropped (KEEP=1 leaves it running)
	@bin/loadtest demo

.PHONY: run
run: root build ## run all services on a real interface, observing only: make run IFACE=eth0
	@[ -n "$(IFACE)" ] || { echo "say which: make run IFACE=eth0"; exit 1; }
	@bin/loadtest run --iface $(IFACE)

.PHONY: bench-ttm
bench-ttm: root build ## time to mitigate, 20 repeats of each flood, and where the time goes
	@bin/loadtest bench-ttm

.PHONY: test
test: root packages build ## run every test; installs what is missing
	@.ci/test $(MODULES)

.PHONY: packages
packages: ## install the Debian packages that the tests use
	@.ci/packages

.PHONY: generate
generate: ## generate BPF objects and protobuf code anew (needs clang 14)
	@cd bpf/xdp && go generate ./...

.PHONY: check-generated
check-generated: packages generate ## generating anew changes nothing
	@git diff --exit-code --stat -- bpf || { echo "generated files differ: commit what make generate makes"; exit 1; }

.PHONY: lint
lint: ## format, vet, dependency rules, sizes, shell scripts
	@.ci/lint $(MODULES)

.PHONY: gowork-off
gowork-off: ## every module builds by itself
	@for m in $(MODULES); do (cd $$m && GOWORK=off go build ./... && GOWORK=off go vet ./...) || exit 1; done

.PHONY: docs
docs: build ## write the environment tables into the README
	@.ci/docs

.PHONY: fmt
fmt: ## format Go and C
	@gofmt -w $(MODULES)
	@clang-format -i bpf/include/*.h bpf/xdp/*.h bpf/xdp/*.c

.PHONY: clean
clean: ## remove what was built, and what a killed demo left behind
	@[ ! -x bin/loadtest ] || bin/loadtest clean
	@rm -rf bin
