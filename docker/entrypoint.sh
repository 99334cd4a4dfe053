#!/bin/sh
# Every secret that is mounted becomes an environment variable of its file's name; then the command takes our place.
set -eu
for secret in /run/secrets/*; do
    if [ -f "$secret" ]; then
        export "$(basename "$secret")=$(cat "$secret")"
    fi
done
# A Prefect server that was killed may leave its lock, and we have its process number: it would wait for itself.
rm -f "${PREFECT_HOME:-}/concurrency_leases/expirations.lock"
exec "$@"
