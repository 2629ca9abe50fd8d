#!/usr/bin/env bash
# Three hosts over Corosync, as network namespaces on this machine: the recorded transcript,
# a chaos, and the example that users run. With REQUIRE_ALL=1 it is skipped only where there
# is no right to make namespaces.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ] || ! unshare --net true 2>/dev/null; then
    echo '!!! ci/hosts.sh: NO RIGHT TO MAKE NAMESPACES, so SEVERAL HOSTS are NOT TESTED !!!'
    exit 0
fi
for program in corosync ip nft; do
    command -v "$program" >/dev/null || {
        echo "!!! ci/hosts.sh: NO $program HERE, so SEVERAL HOSTS are NOT TESTED !!!"
        [ -z "${REQUIRE_ALL-}" ] || exit 1
        exit 0
    }
done
ci/cluster/test.sh
# The program that the test has built.
folder=debug
[ -z "${RELEASE-}" ] || folder=release
SPREADD=$(readlink -f "${CARGO_TARGET_DIR:-target}/$folder/spreadd") ci/cluster/example.sh
