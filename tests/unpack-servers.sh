#!/bin/sh
# Servers of versions that this machine's own packages do not have, for the tests: Debian's packages, unpacked into a
# cache folder (350 MB to fetch, once) and run with the loader and the libraries that come with them.
# The system's own packages are not touched: apt gets folders of its own. See tests/servers.py, which starts them.
set -eu
if [ "$(id -u)" = 0 ]; then cache=/var/cache/jobd-tests; else cache=${XDG_CACHE_HOME:-$HOME/.cache}/jobd-tests; fi
cache=${JOBD_TEST_CACHE:-$cache}
keys=/usr/share/keyrings/debian-archive-keyring.gpg

fetch() { # the archives of packages of a suite, and of all that they depend on, into $1/apt/cache/archives
    apt=$1/apt
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$apt/sources.list.d"
    printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' "$archive" "$2" "$keys" \
        > "$apt/sources.list.d/debian.sources"
    packages=$3
    set -- -oDir::State::Lists="$apt/lists" -oDir::Cache="$apt/cache" -oDir::State::status=/dev/null \
        -oDir::Etc::sourcelist=/dev/null -oDir::Etc::sourceparts="$apt/sources.list.d" -oAPT::Sandbox::User="$(id -un)"
    apt-get "$@" update -q
    # shellcheck disable=SC2086  # a list of words
    apt-get "$@" install -q -y --no-install-recommends --download-only $packages
}

own_loader() { # have a program of the folder $1 run with the loader and the libraries of that folder
    loader=$(find "$1/usr/lib" -name 'ld-linux*.so.*' | head -n 1)
    mv "$2" "$2.elf"
    printf '#!/bin/sh\nexec "%s" --library-path "%s" --argv0 "$0" "$0.elf" "$@"\n' "$loader" "${loader%/*}" > "$2"
    chmod 755 "$2"
}

unpack() { # a kind of server: its packages of a suite, and the programs in them that are run
    kind=$1 suite=$2 packages=$3
    shift 3
    [ -e "$cache/$kind/ready" ] && return
    echo "Fetching $packages of Debian's $suite into $cache/$kind …"
    fetch "$cache/$kind" "$suite" "$packages"
    rm -rf "$cache/$kind/root"
    for file in "$cache/$kind"/apt/cache/archives/*.deb; do
        case ${file##*/} in perl* | libperl*) ;; *) dpkg -x "$file" "$cache/$kind/root" ;; esac
    done
    for program in "$@"; do own_loader "$cache/$kind/root" "$cache/$kind/root/usr/$program"; done
    rm -rf "$cache/$kind/apt/lists"
    touch "$cache/$kind/ready"
}

if ! grep -q '^ID=debian' /etc/os-release || [ ! -e "$keys" ]; then
    echo 'This is not Debian: the tests on further servers are skipped.' >&2
    exit
fi
# Where the system's own packages come from. (Those of the security team lie elsewhere, without the newer suites.)
archive=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(COMPONENT)' 'Created-By: Packages' |
    sed -n '/security/d; s|/* main$||p' | head -n 1)
mkdir -p "$cache"
chmod 755 "$cache"
unpack mysql sid mysql-server-core sbin/mysqld
unpack mariadb118 trixie 'mariadb-server-core mariadb-client-core' sbin/mariadbd bin/my_print_defaults bin/resolveip
unpack postgresql18 sid postgresql-18 lib/postgresql/18/bin/initdb lib/postgresql/18/bin/postgres
