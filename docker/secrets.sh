#!/bin/sh
# Makes every secret that is not there yet: a file each in docker/secrets/, or in the folder that is given.
#   sh docker/secrets.sh [FOLDER]
# The folder is closed to others. The files in it are not, as containers read them under users of their own.
set -eu
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"
cd "$folder"

word() { openssl rand -hex 24; }

make() { # NAME CONTENT
    if [ ! -s "$1" ]; then
        printf '%s' "$2" > "$1"
        chmod 444 "$1"
        echo "made $folder/$1"
    fi
}

make postgres_password "$(word)"
make prefect_database_password "$(word)"
make mlflow_database_password "$(word)"
make prefect_auth "itkm:$(word)"
make mlflow_password "$(word)"
make mlflow_secret_key "$(word)"
make s3_access_key itkm
make s3_secret_key "$(word)"
make s3.json "$(printf '{"identities": [{"name": "itkm", "actions": ["Admin"], "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}]}' \
    "$(cat s3_access_key)" "$(cat s3_secret_key)")"
make reports_password "$(word)"
make reports_htpasswd "itkm:$(openssl passwd -6 -stdin < reports_password)"
