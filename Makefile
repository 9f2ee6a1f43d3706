# labctl: `make demo` and `make test` are all that a fresh Debian 12 machine needs.
SHELL := /bin/bash

.PHONY: deps build demo test check bench golden install clean

build: deps
	swift build -c release

deps:
	./scripts/deps

# CPU tests need optimised code; @testable needs -enable-testing; kept apart from the plain release build.
TEST_FLAGS := -c release -Xswiftc -enable-testing --scratch-path .build-test

test: deps
	swift build --build-tests $(TEST_FLAGS)
	swift test --skip-build $(TEST_FLAGS)
