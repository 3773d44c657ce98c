# make alone prints the targets.

FUZZTIME ?= 10s
BENCH    ?=
SEED     ?= 1
SEEDS    ?= 200
MINUTES  ?= 30
MEGABYTES ?= 10240

.DEFAULT_GOAL := help
.PHONY: help build run test simulate torture network mutants recovery stream bench bench-compare fuzz fmt clean

help: ## print the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/acqswitch, one static binary
	CGO_ENABLED=0 go build -trimpath -o bin/acqswitch ./cmd/acqswitch

run: build ## run the sample day and stay up until Ctrl-C; ARGS=--exit ends instead
	bin/acqswitch run $(ARGS)

# SQLite is C that was translated into Go: it has its own locks, and takes three to
# five times as long under the race detector. All else is watched.
RACE = -race '-gcflags=modernc.org/...=-race=false'

test: ## vet, then every test with the race detector (needs a C compiler; installs PostgreSQL and SoftHSM2 when missing)
	.ci/postgres.sh
	.ci/softhsm.sh
	go vet ./...
	go test $(RACE) -timeout 20m ./...
	go test -tags failpoint ./cmd/acqswitch -run 'TestTorture$$|TestF81'

simulate: ## live SEEDS (200) simulated runs of three days from SEED (1) on, the switch being killed and its peers failing
	go test ./switch -run 'TestSimulation$$' -timeout 0 -sim.seed $(SEED) -sim.seeds $(SEEDS)

torture: ## for MINUTES (30), from SEED (1) on, kill the real switch at every point, on SQLite and PostgreSQL, and compare the books
	.ci/postgres.sh
	go test -tags failpoint ./cmd/acqswitch -run 'TestTorture$$' -v -timeout 0 -torture.minutes $(MINUTES) -torture.seed $(SEED)

network: ## for 10 s each, from SEED (1) on, every kind of bad network at the terminals and at the issuer, and compare the books
	go test ./cmd/acqswitch -run 'TestF41Network$$' -v -timeout 0 -network.for 10s -network.seed $(SEED)

mutants: ## plant one bug after another in a copy of the code and see that the tests find it (2 min)
	.ci/mutants.sh

recovery: ## start a switch on a journal of ten million records, which takes 4 GB and some minutes to make
	go test ./switch -run 'TestF68RecoveryTime$$' -v -timeout 0 -recovery.records 10000000

stream: ## read, clean and write a capture of MEGABYTES (10240) of packets, and see that its memory is flat (about 5 min)
	go test ./switch/capture -run 'TestStreamIsFlat$$' -v -timeout 0 -capture.megabytes $(MEGABYTES)

bench: build ## measure codec, risk, journal, settlement, tools and the whole switch (10 min), two lines to quote last; BENCH='-only sqlite' narrows the whole switch
	go test -run '^$$' -bench 'CUPSale' ./iso
	go test -run '^$$' -bench 'Assess$$' ./risk
	go test -run '^$$' -bench 'Append' ./settlement/journal
	go test -run '^$$' -bench 'Settle|Book' -benchtime 1x -timeout 30m ./settlement
	go test -run '^$$' -bench Import -benchtime 1x -timeout 30m ./settlement/reconcile
	go test -run '^$$' -bench 'Reload' -benchtime 3x ./switch/registry/office
	go test -run '^$$' -bench 'Follow|Recorder' ./switch/capture
	go test -run '^$$' -bench 'Load|Report' -benchtime 1x ./switch/replay
	go run ./cmd/bench $(BENCH)
	go run ./cmd/bench herd
	go run ./cmd/bench quote

bench-compare: ## benchmarks of BASE (a revision) and of what is here, in turn, through benchstat; BENCH=REGEXP narrows them
	.ci/bench-compare.sh $(BASE) '$(or $(BENCH),.)'

fuzz: ## run every fuzz target for FUZZTIME (10s)
	.ci/fuzz.sh $(FUZZTIME)

fmt: ## format the code
	gofmt -w $$(git ls-files -co --exclude-standard '*.go')

clean: ## remove what build and run leave behind
	rm -rf bin data
