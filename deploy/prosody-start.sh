#!/bin/sh
# Starts Prosody in its container, with a certificate for the host.
#
# Those of /certs are taken, as HOST.crt and HOST.key, or laid out as certbot does. If there is none,
# one is made, which clients have to be told to trust; it stays the same until it is removed.
set -eu
umask 027

host=$STANZALAKE_HOSTS
data=/var/lib/prosody
made=$data/made-certs
use=$data/certs

take() { # CERTIFICATE KEY
    [ -r "$1" ] && [ -r "$2" ] || return 1
    cp --dereference "$1" "$use/$host.crt"
    cp --dereference "$2" "$use/$host.key"
}

make() {
    mkdir -p "$made"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 825 \
        -subj "/CN=$host" -addext "subjectAltName=DNS:$host,DNS:conference.$host" \
        -keyout "$made/$host.key" -out "$made/$host.crt" 2>/dev/null
    echo "prosody-start: /certs has no certificate for $host: made one that nobody trusts"
}

mkdir -p "$use"
rm -f "$use"/*
take "/certs/$host.crt" "/certs/$host.key" ||
    take "/certs/live/$host/fullchain.pem" "/certs/live/$host/privkey.pem" ||
    take "$made/$host.crt" "$made/$host.key" ||
    { make && take "$made/$host.crt" "$made/$host.key"; }
chown -R prosody:prosody "$data"

exec setpriv --reuid=prosody --regid=prosody --init-groups prosody -F
