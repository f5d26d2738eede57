#!/bin/sh
# Run the tests in a fresh Debian 13 (its own Python, MariaDB and PostgreSQL), by debootstrap in a folder of its own;
# nothing of this machine is changed. As root. What is given goes to make instead of `test`.
set -eu
[ "$(id -u)" = 0 ] || { echo 'make test-debian13 needs root (debootstrap, chroot)' >&2; exit 1; }
# What is mounted here is mounted for this process and its children only: nothing stays mounted, however they end.
[ -n "${JOBD_TEST_APART:-}" ] || exec env JOBD_TEST_APART=1 unshare --mount "$0" "$@"
command -v debootstrap > /dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q debootstrap
cache=${JOBD_TEST_CACHE:-/var/cache/jobd-tests}
root=$cache/debian13
here=$(cd "${0%/*}/.." && pwd)
packages=make,python3,python3-venv,git,ca-certificates,procps

within() { # run a command in the root $1
    place=$1
    shift
    cp /etc/hosts /etc/resolv.conf "$place/etc/"
    bundle=/etc/ssl/certs/ca-certificates.crt # with what a proxy needs
    [ ! -e "$bundle" ] || cp -L --remove-destination "$bundle" "$place$bundle"
    # shellcheck disable=SC2046  # a list of words
    env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
        $(env | grep -iE '^(https?_proxy|no_proxy|PIP_CERT|PIP_INDEX_URL|SSL_CERT_FILE|JOBD_TEST_[A-Z_]*)=' | tr '\n' ' ') \
        chroot "$place" "$@"
}

if [ ! -e "$root" ]; then # it gets its name when it is whole, with all that the tests start
    rm -rf --one-file-system "$root.part"
    debootstrap --variant=minbase --include="$packages" trixie "$root.part"
    cp "$here/tests/install-servers.sh" "$root.part/tmp/"
    JOBD_TEST_REQUIRE='' within "$root.part" /tmp/install-servers.sh
    mv -T "$root.part" "$root"
fi
# A mount point of its own: else what makes mounts in namespaces of its own does not find the root.
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
mkdir -p "$root/jobd" "$root/$cache"
mount --bind "$cache" "$root/$cache" # the servers of further versions, where they have been unpacked
mount -t tmpfs tmpfs "$root/jobd"    # so that two of these do not meet
git -C "$here" archive HEAD | tar -x -C "$root/jobd"
within "$root" make -C /jobd "${@:-test}"
