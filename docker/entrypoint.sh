#!/bin/sh
# Every secret that is mounted becomes an environment variable of its file's name; then the command takes our place.
set -eu
for secret in /run/secrets/*; do
    if [ -f "$secret" ]; then
        export "$(basename "$secret")=$(cat "$secret")"
    fi
done
exec "$@"
