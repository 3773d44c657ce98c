#!/usr/bin/env bash
# Makes sure that SoftHSM2 is there, the PKCS#11 module that the key vault is
# tested against. Does nothing when its tool is found.
set -euo pipefail

command -v softhsm2-util >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "no SoftHSM2 found: install it so that softhsm2-util is on PATH" >&2
    exit 1
fi
sudo=
[ "$(id -u)" -eq 0 ] || sudo=sudo
echo "no SoftHSM2 found: installing Debian's softhsm2 package"
$sudo apt-get update -q
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends softhsm2
command -v softhsm2-util >/dev/null || { echo "the softhsm2 package brought no softhsm2-util; look at apt-get's output above" >&2; exit 1; }
