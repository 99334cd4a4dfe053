#!/usr/bin/env bash
# Builds the image from docker/Dockerfile and runs it, with no Docker and no registry: on a base made of Debian's packages.
#   bash docker/prove.sh
# Needs root on Debian, apt, about 8 GB of disk below TMPDIR, and .venv (`make setup`). All that it made is removed at its end.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d --tmpdir itkm-prove.XXXXXX)
export TMPDIR=$work
buildah=(buildah --root "$work/images" --runroot "$work/run" --storage-driver vfs)
clean() {
    "${buildah[@]}" rm --all >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean EXIT
say() { printf '%s  %s\n' "$(date +%T)" "$*"; }

say "tools"
export DEBIAN_FRONTEND=noninteractive
apt-get install -y -qq --no-install-recommends buildah mmdebstrap >/dev/null

say "base: Debian bookworm with its Python 3.11, under the name of the real one"
base=$(sed -n 's/^ARG BASE=\([^@]*\).*/\1/p' docker/Dockerfile)
sources=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null || true) # not all are there
mirror=$(sed -n 's/^\(URIs:\|deb\) *\(https\?:[^ ]*debian\/\?\)\( .*\|$\)/\2/p' <<< "$sources" | sed -n 1p)
mmdebstrap --quiet --variant=minbase --include=python3-venv,ca-certificates bookworm "$work/base.tar" ${mirror:+"$mirror"}
container=$("${buildah[@]}" from scratch)
"${buildah[@]}" add --quiet "$container" "$work/base.tar" / >/dev/null
"${buildah[@]}" commit --quiet --rm "$container" "$base" >/dev/null
rm "$work/base.tar"

say "image: docker/Dockerfile as it stands"
given=(--volume /etc/ssl/certs:/etc/ssl/certs:ro)
[ ! -f /etc/pip.conf ] || given+=(--volume /etc/pip.conf:/etc/pip.conf:ro)
wheels=$(python3 -m pip config get global.find-links 2>/dev/null || true)
[ -z "$wheels" ] || given+=(--volume "$wheels:$wheels:ro" --build-arg "UV_FIND_LINKS=$wheels")
"${buildah[@]}" bud --quiet --isolation chroot --layers=false --build-arg "BASE=$base" --build-arg DEVICE=cpu \
    "${given[@]}" --file docker/Dockerfile --tag itkm:cpu . >/dev/null

say "what it is and does"
container=$("${buildah[@]}" from itkm:cpu)
entry=$("${buildah[@]}" inspect --format '{{index .OCIv1.Config.Entrypoint 0}}' "$container")
inside() { "${buildah[@]}" run --isolation chroot "$container" -- "$entry" "$@"; }
[ "$(inside id -u)" = 10001 ]
[ "$(inside python -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = 3.11 ]
inside itkm --help | grep -q "Examples:"
inside python -m itkm run --help | grep -q "STAGE is one of"
inside git --version
inside python -c "
import dvc, faiss, great_expectations, hdbscan, mlflow, prefect, prefect_docker, prefect_kubernetes, psycopg2, torch
from itkm.retrieval import model
print('torch', torch.__version__, '| faiss', faiss.__version__, '| prefect', prefect.__version__, '| mlflow', mlflow.__version__)"
inside sh -c '! touch /opt/itkm/itkm/changed 2>/dev/null && ! touch /opt/venv/changed 2>/dev/null'
[ "$(inside sh -c 'ls -d data models .git docker/secrets docker/.env 2>/dev/null | wc -l')" = 0 ]
mkdir "$work/secrets"
printf 'a secret' > "$work/secrets/ITKM_PROOF"
told=$("${buildah[@]}" run --isolation chroot --volume "$work/secrets:/run/secrets:ro" "$container" -- "$entry" printenv ITKM_PROOF)
[ "$told" = "a secret" ]

say "a stage under ITKM_RUNNER=docker, in this image"
mkdir -p "$work/bin" "$work/here" "$work/there"
cat > "$work/bin/docker" <<DOCKER
#!/usr/bin/env bash
# docker run, by buildah
set -euo pipefail
[ "\$1" = run ] || { [ "\$1" = rm ] || echo sha256:proof; exit 0; }
options=() && shift
while [[ "\$1" = --* ]]; do
    case "\$1" in
        --mount=*) target=\${1##*target=}; mode=; [[ "\$target" != *,readonly ]] || mode=:ro; target=\${target%,readonly}
                   options+=(--volume "\$target:\$target\$mode") ;;
        --env=*=*) options+=(--env "\${1#--env=}") ;;
        --env=*) name=\${1#--env=}; options+=(--env "\$name=\${!name}") ;;
        --workdir=*) options+=(--workingdir "\${1#--workdir=}") ;;
        --user=*) options+=(--user "\${1#--user=}") ;;
    esac
    shift
done
shift # the image
exec ${buildah[@]} run --isolation chroot "\${options[@]}" $container -- $entry "\$@"
DOCKER
chmod 755 "$work/bin/docker"
[ -d data/vi ] || .venv/bin/dvc pull --quiet data.dvc
for place in here there; do
    mkdir "$work/$place/data" && cp -r data/vi "$work/$place/data/vi"
    sed 's/^scenarios:.*/scenarios: [vi]/' params.yaml > "$work/$place/params.yaml"
done
python=$PWD/.venv/bin/python
(cd "$work/here" && "$python" -m itkm run prepare --scenario vi)
(cd "$work/there" && PATH="$work/bin:$PATH" ITKM_RUNNER=docker ITKM_GPUS=none ITKM_IMAGE=itkm:cpu "$python" -m itkm run prepare --scenario vi)
diff -r "$work/here/artifacts" "$work/there/artifacts"

"${buildah[@]}" images
say "$(du -sh "$work" 2>/dev/null | cut -f1) of disk were used; the image is proven"
