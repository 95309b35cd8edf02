#!/bin/sh
# Makes a backup each night, at once if there is none of the last day, and removes those of more than
# BACKUP_DAYS days. Says when the last one was made, for Prometheus.
set -eu

at=${BACKUP_AT:-03:00}
days=${BACKUP_DAYS:-7}
backups=${BACKUP_DIRECTORY:-/var/lib/clickhouse/backups}
figures=${TMPDIR:-/tmp}/figures

newest() { # Seconds since 1970 of the newest backup; 0 if there is none.
    find "$backups" -maxdepth 1 -name 'nightly-*' -printf '%Ts\n' | sort -n | tail -n 1 | grep . || echo 0
}

tell() {
    mkdir -p "$figures"
    echo "stanzalake_backup_last_success_timestamp_seconds $(newest)" > "$figures/metrics.txt.new"
    mv "$figures/metrics.txt.new" "$figures/metrics.txt"
}

back_up() {
    if stanzalake backup "nightly-$(date -u +%Y-%m-%dT%H%M)"; then
        find "$backups" -maxdepth 1 -name 'nightly-*' -mtime "+$days" -exec rm -r {} +
    fi
    tell
}

tell
python -m http.server --directory "$figures" 9411 >/dev/null 2>&1 &
if [ "$(newest)" -lt "$(date -d '1 day ago' +%s)" ]; then
    back_up
fi
while :; do
    sleep $((($(date -u -d "$at" +%s) - $(date +%s) + 86400) % 86400 + 1))
    back_up
done
