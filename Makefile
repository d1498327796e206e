# README.md says what each target is for. Set-up is part of them: on a bare Debian with Go, `make demo` and `make test`
# install what they need (through apt and the Go module proxy) and fail where they can't.
GO        ?= go
VERSION   ?= $(shell git describe --always --dirty 2>/dev/null || echo unknown)
LDFLAGS    = -s -w -X main.version=$(VERSION)
BUILD      = CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
PLATFORMS  = linux-amd64 linux-386 linux-armv6 linux-armv7 linux-arm64
BIN        = $(CURDIR)/bin
LINT       = golangci-lint-v2.15.0

.PHONY: build test unit nm ansible browser sdk scale lint lab lab-all demo bench faults fuzz reproducible dist clean setup

BIN_OUT   ?= bin/balena-migrate

build:
	$(BUILD) -o $(BIN_OUT) ./cmd/balena-migrate

dist: $(PLATFORMS:%=dist/balena-migrate-%)
	cd dist && sha256sum balena-migrate-* >SHA256SUMS

# linux-armv7 is GOOS=linux GOARCH=arm GOARM=7.
dist/balena-migrate-%: FORCE
	GOOS=linux GOARCH=$(patsubst armv%,arm,$(*:linux-%=%)) GOARM=$(patsubst armv%,%,$(filter armv%,$(*:linux-%=%))) $(BUILD) -o $@ ./cmd/balena-migrate
FORCE:

test: setup lint unit nm sdk faults fuzz reproducible ansible browser lab

reproducible:
	testdata/reproducible.sh

unit:
	$(GO) test -race -timeout 20m ./...

# NetworkManager and wpa_supplicant judge the connection files, in namespaces of their own.
nm:
	$(GO) test -count=1 -timeout 10m ./testdata/nm

# The registration's API server is held to what was recorded, and our requests to those of balena's own SDK (npm).
sdk:
	$(GO) test -race -count=1 -timeout 10m ./testdata/balenaapi/... ./testdata/sdk

# Every write of every step is killed once; see steps/host/killpoint_faults.go.
faults:
	$(GO) test -tags faults -timeout 20m ./testdata/faults

# Each parser of foreign bytes, a fixed number of executions.
fuzz:
	testdata/fuzz.sh 5000x

ansible: dist
	cd ansible && ANSIBLE_COLLECTIONS_PATHS=collections ansible-lint --offline --profile production
	testdata/ansible/sanity.sh
	$(GO) test -count=1 -timeout 40m -parallel 4 ./testdata/ansible
	$(GO) test -count=1 -timeout 20m -run 'TestNothing|TestFleet' ./testdata/scale

# A thousand devices, and what one costs the controller beside ssh, raw and command. It wants a quiet machine.
scale: setup
	$(GO) test -count=1 -timeout 20m -v -run TestController ./testdata/scale
	SCALE=1000 $(GO) test -count=1 -timeout 120m -v -run 'TestNothing|TestFleet' ./testdata/scale

# The report's page in Debian's Chromium.
browser:
	$(GO) test -count=1 -timeout 10m ./testdata/browser

lint: $(BIN)/$(LINT)
	gofmt -l $$(git ls-files '*.go') | (! grep .)
	$(BIN)/$(LINT) run ./... ./testdata/lab/... ./testdata/bench/... ./testdata/ansible/... ./testdata/faults/... ./testdata/nm/... ./testdata/browser/... ./testdata/fleet/... ./testdata/balenaapi/... ./testdata/sdk/... ./testdata/scale/...
	shellcheck -x -P SCRIPTDIR $$(git ls-files '*.sh' .ci/run)

$(BIN)/$(LINT):
	GOBIN=$(BIN)/tmp $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT:golangci-lint-%=%)
	mv $(BIN)/tmp/golangci-lint $@ && rmdir $(BIN)/tmp

# Virtual machines, two at a time: real migrations and their failures. lab-all adds the tests of the lab itself.
lab: setup dist
	$(GO) test -count=1 -timeout 60m -v -parallel 2 -run '^TestMigration|ComesBack|NewOS|Mkinitramfs|WaitEnds|Firmware|Line' ./testdata/lab ./testdata/lab/demo

lab-all: setup dist
	BALENA_LAB_ALL=1 $(GO) test -count=1 -timeout 120m -v -parallel 2 ./testdata/lab ./testdata/lab/demo

demo: setup dist/balena-migrate-linux-amd64
	$(GO) run ./testdata/lab/demo

# The table of the flash engine beside other tools takes about five minutes, most of them theirs; it wants a quiet machine.
bench: setup
	$(GO) test -run '^$$' -timeout 60m -bench . -benchmem ./...
	$(GO) test -count=1 -timeout 20m -v -run TestFlashTable ./testdata/bench

setup:
	testdata/setup.sh

clean:
	rm -rf bin dist
