#!/bin/sh
# `make install` and `make uninstall`. Environment: PREFIX, DESTDIR, PYTHON (empty: choose one), PIP_OPTIONS.
#
# The program gets a virtual environment of its own. It is built beside the one that is in use and takes its place when
# it is complete, so an install that fails changes nothing. What an administrator may have changed (configuration,
# plugins, data) is neither overwritten nor removed.
set -eu
umask 022 # the service's user reads what root installs

LIB=$DESTDIR$PREFIX/lib/jobd
UNIT=$DESTDIR$PREFIX/lib/systemd/system/jobd.service
SYSUSERS=$DESTDIR$PREFIX/lib/sysusers.d/jobd.conf
ETC=$DESTDIR/etc/jobd
NOBODY=65534

fail() {
    echo "make install: $1" >&2
    exit 1
}

# Whether the user $1 can run a program. A shell between them, because setpriv itself keeps root's rights until it has
# found the program that it runs.
can_run() {
    user=$1
    shift
    setpriv --reuid="$user" --regid="$user" --clear-groups sh -c 'exec "$0" "$@"' "$@" >/dev/null 2>&1
}

is_root() { [ "$(id -u)" = 0 ]; }

has_systemd() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

# The service does not run as the user who installs it. The first python3 in root's PATH may lie in root's home, where
# the service's user cannot read it, so root gets the system's own.
choose_python() {
    if [ -z "$PYTHON" ]; then
        PYTHON=python3
        if is_root && [ -x /usr/bin/python3 ]; then PYTHON=/usr/bin/python3; fi
    fi
    command -v "$PYTHON" >/dev/null || fail "there is no program '$PYTHON'; name a Python: make install PYTHON=/path/to/python3"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$PYTHON is older than Python 3.11; name a newer one: make install PYTHON=/path/to/python3"
    base=$("$PYTHON" -c 'import os, sys; print(os.path.realpath(sys._base_executable))')
    if is_root && ! can_run $NOBODY "$base" -c ''; then
        fail "the user that the service runs as cannot run $base; name a Python that every user can run: make install PYTHON=/usr/bin/python3"
    fi
    if ! "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; then
        is_root && [ "$base" = "$(readlink -f /usr/bin/python3)" ] && command -v apt-get >/dev/null ||
            fail "$PYTHON has no module venv; on Debian: sudo apt-get install python3-venv"
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q python3-venv
    fi
    echo "the service will run on $base"
}

build() {
    rm -rf "$LIB.new"
    "$PYTHON" -m venv --prompt jobd "$LIB.new"
    # shellcheck disable=SC2086  # a list of words
    "$LIB.new/bin/python" -m pip install --quiet --disable-pip-version-check ${PIP_OPTIONS-} '.[mysql,postgresql]'
    find "$LIB.new/bin" -type f -exec sed -i "s|$LIB.new|$PREFIX/lib/jobd|g" {} +
    "$LIB.new/bin/python" -P -c 'from jobd import template; print(end=template.config_for("/etc/jobd"))' >"$LIB.new/jobd.toml"
}

replace() {
    rm -rf "$LIB.old"
    if [ -e "$LIB" ]; then mv "$LIB" "$LIB.old"; fi
    mv "$LIB.new" "$LIB"
    rm -rf "$LIB.old"
}

install_all() {
    mkdir -p "$(dirname "$LIB")" 2>/dev/null && [ -w "$(dirname "$LIB")" ] ||
        fail "this user cannot write $(dirname "$LIB"); as root: sudo make install"
    choose_python
    again=''
    if [ -e "$LIB" ]; then again=yes; fi
    install -d "$DESTDIR$PREFIX/bin" "$(dirname "$UNIT")" "$(dirname "$SYSUSERS")" "$ETC/plugins"
    build
    replace
    ln -sfn "$PREFIX/lib/jobd/bin/jobd" "$DESTDIR$PREFIX/bin/jobd"
    [ -e "$ETC/jobd.toml" ] || install -m 644 "$LIB/jobd.toml" "$ETC/jobd.toml"
    echo 'u jobd - "jobd, the job scheduler" /var/lib/jobd' >"$SYSUSERS"
    "$LIB/bin/python" -P -m jobd --config "$ETC/jobd.toml" systemd | sed "s|$DESTDIR/|/|g" >"$UNIT"
    if is_root && [ -z "$DESTDIR" ]; then
        id jobd >/dev/null 2>&1 ||
            useradd --system --no-create-home --home-dir /var/lib/jobd --shell /usr/sbin/nologin jobd
        can_run jobd "$LIB/bin/jobd" --version ||
            fail "the user jobd cannot run $LIB/bin/jobd; make $PREFIX readable for every user and install again"
    fi
    if has_systemd; then systemctl daemon-reload; fi
    if [ -n "$again" ]; then
        echo 'jobd is installed; the new version takes effect with: systemctl restart jobd'
    else
        echo 'jobd is installed; begin with: systemctl enable --now jobd'
    fi
}

uninstall_all() {
    if has_systemd; then systemctl disable --now jobd || true; fi
    if cmp -s "$LIB/jobd.toml" "$ETC/jobd.toml"; then rm "$ETC/jobd.toml"; fi
    rm -rf "$LIB" "$LIB.new" "$LIB.old" "$DESTDIR$PREFIX/bin/jobd" "$UNIT" "$SYSUSERS"
    rmdir "$ETC/plugins" "$ETC" 2>/dev/null || true
    if has_systemd; then systemctl daemon-reload; fi
}

case $1 in
install) install_all ;;
uninstall) uninstall_all ;;
*) fail "unknown step '$1'" ;;
esac
