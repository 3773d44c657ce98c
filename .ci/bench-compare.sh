#!/usr/bin/env bash
# Runs the benchmarks of two revisions in turn, round by round, so that what the
# machine does meanwhile meets both alike, and prints what benchstat makes of it.
#   bench-compare.sh BASE [REGEXP [PACKAGES...]]
# ROUNDS (6) and BENCHTIME (0.5s) are in the environment. What differs from the
# last commit here is what is compared with BASE.
set -euo pipefail
cd "$(dirname "$0")/.."
base=${1:?BASE must name a revision, as main~5}
pattern=${2:-.}
if [ $# -gt 2 ]; then shift 2; packages=("$@"); else
    packages=(./iso ./risk ./settlement/journal ./switch/dialect ./switch/capture ./switch/replay)
fi
git rev-parse --verify --quiet "$base^{commit}" >/dev/null || { echo "$base is no revision" >&2; exit 2; }

work=$(mktemp -d)
trap 'git worktree remove --force "$work/base" 2>/dev/null; rm -rf "$work"' EXIT
git worktree add --quiet --detach "$work/base" "$base"

build() { # directory, suffix: a test binary of each package that it has
    for p in "${packages[@]}"; do
        [ -d "$1/$p" ] || continue
        (cd "$1" && go test -c -o "$work/$(echo "$p" | tr -c 'a-z0-9\n' _).$2" "$p")
    done
}
build "$work/base" base
build . here
for ((round = 1; round <= ${ROUNDS:-6}; round++)); do
    echo "round $round" >&2
    for p in "${packages[@]}"; do
        name=$(echo "$p" | tr -c 'a-z0-9\n' _)
        for side in base here; do
            [ -x "$work/$name.$side" ] || continue
            at=.; [ $side = base ] && at="$work/base"
            (cd "$at/$p" && "$work/$name.$side" -test.run '^$' -test.bench "$pattern" -test.benchtime "${BENCHTIME:-0.5s}") >>"$work/$side.txt"
        done
    done
done
go tool -modfile=tools/go.mod benchstat "base=$work/base.txt" "here=$work/here.txt"
