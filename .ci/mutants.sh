#!/usr/bin/env bash
# Plants each bug of .ci/mutants, one at a time, in a copy of the code, and fails
# unless the tests that are named in it fail. A file is a patch; what stands
# before its first line "---" says what the bug is, and its line "test:" what
# must find it, as arguments of go test.
set -euo pipefail
cd "$(dirname "$0")/.."

copy=$(mktemp -d)
trap 'rm -rf "$copy"' EXIT
survived=0
for mutant in .ci/mutants/*.patch; do
    find "$copy" -mindepth 1 -delete
    git ls-files -co --exclude-standard -z | xargs -0 cp --parents -t "$copy"
    if ! patch -s -p1 -d "$copy" <"$mutant"; then
        echo "$mutant cannot be planted: the code has moved, make the patch anew" >&2
        exit 1
    fi
    tests=$(sed -n 's/^test: //p' "$mutant")
    if ! (cd "$copy" && go vet ./switch/... >/dev/null); then
        echo "$mutant does not build" >&2
        exit 1
    fi
    while read -r args; do
        # shellcheck disable=SC2086
        if (cd "$copy" && go test -count=1 $args >"$copy/out" 2>&1); then
            echo "SURVIVED  $mutant: go test $args"
            survived=1
        else
            echo "found     $mutant: go test $args"
            grep -m1 -E '^ +[a-z_]+_test\.go:[0-9]+:' "$copy/out" | cut -c1-160 || true
        fi
    done <<<"$tests"
done
exit "$survived"
