#!/bin/sh
# Run the tests in a fresh Debian 13 (its own Python, MariaDB and PostgreSQL), by debootstrap in a folder of its own;
# nothing of this machine is changed. As root. What is given goes to make instead of `test`.
set -eu
[ "$(id -u)" = 0 ] || { echo 'make test-debian13 needs root (debootstrap, chroot)' >&2; exit 1; }
command -v debootstrap > /dev/null || DEBIAN_FRONTEND=noninteractive apt-get install -y -q debootstrap
root=${JOBD_TEST_CACHE:-/var/cache/jobd-tests}/debian13
here=$(cd "${0%/*}/.." && pwd)
packages=make,python3,python3-venv,git,ca-certificates,procps
[ -e "$root/etc/debian_version" ] || debootstrap --variant=minbase --include="$packages" trixie "$root"
cp /etc/hosts /etc/resolv.conf "$root/etc/"
bundle=/etc/ssl/certs/ca-certificates.crt # with what a proxy needs
[ ! -e "$bundle" ] || cp -L --remove-destination "$bundle" "$root$bundle"

leave() { umount -R "$root/tmp" "$root/dev" "$root/sys" "$root/proc" "$root" 2> /dev/null || true; }
trap leave EXIT
trap "exit 143" HUP INT TERM
# A mount point of its own: else what makes mounts in namespaces of its own does not find the root.
mount --bind "$root" "$root"
mount --make-private "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount --rbind /dev "$root/dev"
mount --make-rslave "$root/dev"
mount -t tmpfs tmpfs "$root/tmp"
rm -rf "$root/jobd"
mkdir "$root/jobd"
git -C "$here" archive HEAD | tar -x -C "$root/jobd"
env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
    $(env | grep -iE '^(https?_proxy|no_proxy|PIP_CERT|PIP_INDEX_URL|SSL_CERT_FILE|JOBD_TEST_[A-Z_]*)=' | tr '\n' ' ') \
    chroot "$root" make -C /jobd "${@:-test}"
