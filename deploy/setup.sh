#!/usr/bin/env bash
# Installs what Stanzalake needs on Debian and is not there yet, and says what it does.
#
#   setup.sh serve VENV   what `make up` and `make demo` run with
#   setup.sh test VENV    and what the tests and MODE=kafka run with besides
set -euo pipefail
purpose=$1 venv=$2

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

missing=()
need() { # PACKAGE COMMAND|/FILE|/PATTERN
    case $2 in
        /*) compgen -G "$2" >/dev/null ;;
        *) command -v "$2" >/dev/null ;;
    esac || missing+=("$1")
}
need prosody prosody
if [ "$purpose" = test ]; then
    need prosody-modules /usr/lib/prosody/modules/mod_delegation
    need lua-check luacheck
    need lua5.4 lua5.4
    need faketime "/usr/lib/*/faketime/libfaketime.so.1"
    need lua-dbi-sqlite3 "/usr/lib/*/lua/5.4/dbd/sqlite3.so"
    need sqlite3 sqlite3
    need lua-dbi-postgresql "/usr/lib/*/lua/5.4/dbd/postgresql.so"
    need lua-dbi-mysql "/usr/lib/*/lua/5.4/dbd/mysql.so"
    need mariadb-server-core mariadbd
    need postgresql "/usr/lib/postgresql/*/bin/initdb"
    need docker-compose docker-compose
    need systemd systemd-analyze
    need mmdebstrap mmdebstrap
    need luarocks luarocks
    need unzip unzip
    need iproute2 ip
    need prometheus promtool
    need prometheus-alertmanager amtool
    need chromium chromium
    need curl curl
    need wget wget
    need jq jq
    need groff-base groff
    need openjdk-17-jre-headless java
    need maven mvn
fi
python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    missing+=(python3 python3-venv)

if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing Debian packages: ${missing[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

if [ ! -x "$venv/bin/python" ]; then
    echo "setup: making a virtual environment in $venv"
    python3 -m venv "$venv"
fi
extra=$([ "$purpose" = test ] && echo '[dev]' || true)
echo "setup: installing Python packages into $venv"
"$venv/bin/python" -m pip --quiet --disable-pip-version-check install \
    --constraint constraints.txt --editable ".$extra"

# Kafka and ClickHouse's JDBC driver, as each pom.xml says it, copied once.
for name in kafka jdbc; do
    copy=.cache/$name pom=tests/support/$name/pom.xml
    if [ "$purpose" = test ] && ! cmp -s "$pom" "$copy/pom.xml"; then
        echo "setup: fetching $name into $copy"
        rm -rf "$copy"
        mvn --quiet --batch-mode -Dstyle.color=never --file "$pom" \
            dependency:copy-dependencies -DoutputDirectory="$PWD/$copy"
        cp "$pom" "$copy/pom.xml"
    fi
done
if [ "$purpose" = test ] && [ ! -f .cache/kafka/classes.jsa ]; then
    echo "setup: archiving the classes of Kafka, so that it starts faster"
    "$venv/bin/python" -m devstack.kafka
fi

# A Debian 13 whose Prosody the tests run on as well: made once, and anew when this list changes.
trixie=.cache/trixie
include=prosody,prosody-modules,lua5.4,lua-dbi-sqlite3,lua-dbi-postgresql,lua-dbi-mysql
include+=,lua-unbound,libfaketime,ca-certificates,luarocks
if [ "$purpose" = test ] && [ "$(cat "$trixie/.packages" 2>/dev/null)" != "$include" ]; then
    echo "setup: making a Debian 13 with Prosody in $trixie, which takes a minute"
    new=$trixie.new
    as_root rm --recursive --force "$trixie" "$new"
    mkdir --parents .cache
    codename=$(. /etc/os-release && echo "$VERSION_CODENAME")
    sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' | sed "s/ $codename/ trixie/")
    without=()
    for files in doc man locale; do
        without+=(--dpkgopt="path-exclude=/usr/share/$files/*")
    done
    downloads=$(apt-config dump Acquire::http Acquire::https)
    as_root mmdebstrap --variant=essential --include="$include" "${without[@]}" \
        --dpkgopt=force-unsafe-io --aptopt="APT::Get::Assume-Yes \"true\";$downloads" \
        trixie "$new" - <<<"${sources:-deb http://deb.debian.org/debian trixie main}"
    echo "$include" | as_root tee "$new/.packages" >/dev/null
    mv "$new" "$trixie"
fi
