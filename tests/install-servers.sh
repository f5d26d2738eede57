#!/bin/sh
# What the tests start beside jobd (database servers, strace, the model checker): installed with apt when we are root
# and it is missing. Servers of further versions take 350 MB: CI fetches them, others do with tests/unpack-servers.sh.
set -eu
[ "${JOBD_TEST_REQUIRE:-}" != all ] || "${0%/*}/unpack-servers.sh"
missing=''
command -v mariadb-install-db >/dev/null 2>&1 || missing="$missing mariadb-server"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
command -v pgbouncer >/dev/null 2>&1 || [ -x /usr/sbin/pgbouncer ] || missing="$missing pgbouncer"
command -v systemd-analyze >/dev/null 2>&1 || missing="$missing systemd"
command -v strace >/dev/null 2>&1 || missing="$missing strace"
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing="$missing libfaketime"
command -v spin >/dev/null 2>&1 || missing="$missing spin"
command -v gcc >/dev/null 2>&1 || missing="$missing gcc libc6-dev"
[ -z "$missing" ] && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -q
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
else
    echo "Not installed:$missing. Their tests are skipped; install them with: sudo apt-get install$missing" >&2
fi
