# labctl: `make demo` and `make test` are all that a fresh Debian 12 machine needs.
SHELL := /bin/bash
PREFIX ?= $(HOME)/.local
BUILD := .build/release
COMPLETIONS := $(addprefix $(PREFIX)/share/,bash-completion/completions zsh/site-functions fish/vendor_completions.d)

# Fully static programs start in 1 ms instead of 10 and run where no Swift is installed (docs/decisions/0302).
STATIC := --static-swift-stdlib -Xswiftc -static-executable -Xswiftc -use-ld=lld

# CPU tests need optimised code; @testable needs -enable-testing; kept apart from the plain release build.
TEST_FLAGS := -c release -Xswiftc -enable-testing --scratch-path .build-test

.PHONY: help deps build demo test check format bench golden fuzz fuzz-devices fuzz-cpu sanitize install clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

deps: ## Debian packages that are missing (apt-get, with sudo where not root)
	@./scripts/deps

build: deps ## labctl and labvm, optimised, in .build/release
	swift build -c release $(STATIC) --product labvm
	swift build -c release $(STATIC) --product labctl

demo: build ## the classroom lab, up and down, with everything said as it goes
	./examples/demo

test: deps ## all tests; guests are fetched from Debian the first time
	swift build --build-tests $(TEST_FLAGS)
	swift test --skip-build $(TEST_FLAGS)
	LABCTL=$(CURDIR)/.build-test/release/labctl ./scripts/test-python

check: ## what a change must pass before it is reviewed: format, shell syntax, schema drift
	swift format lint --strict --recursive --parallel Package.swift Sources Tests
	./scripts/check-shell
	./scripts/check-schema

format: ## puts Swift files into the house format
	swift format --in-place --recursive --parallel Package.swift Sources Tests

bench: build ## ours beside QEMU's TCG and qemu-img; costs of the lab verbs
	@./scripts/deps bench
	./Benchmarks/guest-bench
	./Benchmarks/lab-bench
	./Benchmarks/image-bench

golden: build ## writes golden files again, for review with git diff
	LABCTL_UPDATE_GOLDEN=1 swift test $(TEST_FLAGS)
	$(BUILD)/labctl schema > schemas/lab.schema.json

fuzz: deps ## damaged images of every format, SECONDS each (600), or one FORMAT
	@./scripts/fuzz-images $(or $(SECONDS),600) $(FORMAT)

fuzz-devices: deps ## a hostile guest against every device of the board, for SECONDS (600) from SEED
	@./scripts/fuzz-emulator devices $(or $(SECONDS),600) $(SEED)

fuzz-cpu: deps ## random instruction streams against the host processor, for SECONDS (600) from SEED
	@./scripts/fuzz-emulator cpu $(or $(SECONDS),600) $(SEED)

sanitize: deps ## tests under the address and the thread sanitizer (half an hour)
	./scripts/sanitize address
	./scripts/sanitize thread

install: build ## labctl and labvm into PREFIX/bin, a qemu-img link into PREFIX/lib/labctl, manual pages, completion, Python package
	install -d $(PREFIX)/bin $(PREFIX)/lib/labctl $(COMPLETIONS)
	install -m 755 $(BUILD)/labctl $(BUILD)/labvm $(PREFIX)/bin/
	ln -sf ../../bin/labctl $(PREFIX)/lib/labctl/qemu-img
	$(BUILD)/labctl manual $(PREFIX)/share/man/man1
	$(BUILD)/labctl --generate-completion-script bash > $(PREFIX)/share/bash-completion/completions/labctl
	$(BUILD)/labctl --generate-completion-script zsh > $(PREFIX)/share/zsh/site-functions/_labctl
	$(BUILD)/labctl --generate-completion-script fish > $(PREFIX)/share/fish/vendor_completions.d/labctl.fish
	./scripts/install-python

clean: ## build folders (downloaded guests stay; scripts/guests clean)
	rm -rf .build .build-*
