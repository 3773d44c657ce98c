#!/usr/bin/env bash
# Makes sure that a PostgreSQL server can be started by the tests, which run
# their own private one. Does nothing when binaries are found or when
# ACQ_TEST_POSTGRES_URL names a server to use instead.
set -euo pipefail

found() {
    [ -n "${ACQ_TEST_POSTGRES_URL:-}" ] || command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

found && exit 0
if ! command -v apt-get >/dev/null; then
    echo "no PostgreSQL server found: install one so that initdb is on PATH, or set ACQ_TEST_POSTGRES_URL" >&2
    exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "no PostgreSQL server found: installing Debian's postgresql package"
$sudo apt-get update -q
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends postgresql
found || { echo "the postgresql package brought no initdb; look at apt-get's output above" >&2; exit 1; }
