#!/usr/bin/env bash
# Installs what Stanzalake needs on Debian and is not there yet, and says what it does.
set -euo pipefail
venv=$1

missing=()
need() { # COMMAND-OR-FILE PACKAGE
    command -v "$1" >/dev/null || [ -e "$1" ] || missing+=("$2")
}
need prosody prosody
need /usr/lib/prosody/modules/mod_delegation prosody-modules
need luacheck lua-check
need lua5.4 lua5.4
need docker-compose docker-compose
need java openjdk-17-jre-headless
need mvn maven

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

install_packages() {
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

if [ ${#missing[@]} -gt 0 ]; then
    echo "setup: installing Debian packages: ${missing[*]}"
    install_packages "${missing[@]}"
fi

if ! python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "setup: installing python3-venv"
    install_packages python3 python3-venv
fi

if [ ! -x "$venv/bin/python" ]; then
    echo "setup: making a virtual environment in $venv"
    python3 -m venv "$venv"
fi
echo "setup: installing Python packages into $venv"
"$venv/bin/python" -m pip --quiet --disable-pip-version-check install \
    --constraint constraints.txt --editable '.[dev]'

# Kafka, for the tests and for `make up MODE=kafka`: as pom.xml says it, copied once.
kafka=.cache/kafka pom=tests/support/kafka/pom.xml
if ! cmp -s "$pom" "$kafka/pom.xml"; then
    echo "setup: fetching Kafka into $kafka"
    rm -rf "$kafka"
    mvn --quiet --batch-mode -Dstyle.color=never --file "$pom" \
        dependency:copy-dependencies -DoutputDirectory="$PWD/$kafka"
    cp "$pom" "$kafka/pom.xml"
fi
