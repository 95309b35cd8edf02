#!/bin/sh
# Makes the certificates with which Kafka and ClickHouse are spoken to inside
# docker-compose.production.yml, in DIRECTORY (deploy/inside). Run again, it renews them, by the same
# authority. As root: the keys are to belong to the users of the images.
set -eu
umask 077

directory=${1:-deploy/inside}
mkdir -p "$directory"
cd "$directory"

new() { # WHAT DAYS SUBJECT EXTENSION...
    name=$1 days=$2 subject=$3
    shift 3
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days "$days" -subj "$subject" \
        -keyout "$name.key" -out "$name.new" "$@" 2>/dev/null
}

server() { # WHAT NAMES
    new "$1" 825 "/CN=$1" -addext "subjectAltName=$2"
    openssl x509 -req -in "$1.new" -CA ca.crt -CAkey ca.key -days 825 -copy_extensions copyall \
        -out "$1.crt" 2>/dev/null
    rm "$1.new"
}

if [ ! -e ca.key ]; then
    new ca 3650 "/CN=Stanzalake inside" -x509
    mv ca.new ca.crt
fi
server kafka DNS:kafka,DNS:kafka-2,DNS:kafka-3
server clickhouse DNS:clickhouse
cat kafka.key kafka.crt > kafka.pem
rm kafka.key kafka.crt

chmod 755 .
chmod 644 ca.crt clickhouse.crt
chown 1000 kafka.pem     # appuser of apache/kafka
chown 101 clickhouse.key # clickhouse of clickhouse/clickhouse-server
echo "make-certs: made in $directory; restart what mounts them, and keep ca.key elsewhere"
