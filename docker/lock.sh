#!/bin/sh
# Pins what the containers are made of; needs Docker with buildx, and a network. Look at the difference, and commit it.
#   sh docker/lock.sh
# Every image of others gets the digest that its tag has today, in Dockerfile and compose.yaml. docker/image.lock gets the
# base, and of each image of ours that is on this machine its name, its identity, and the versions inside.
set -eu
cd "$(dirname "$0")"

for image in $(sed -n 's/.*\(docker\.io\/[^@ ]*\).*/\1/p' Dockerfile compose.yaml | sort -u); do
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
    sed -i -E "s#$image(@sha256:[0-9a-f]+)?\$#$image@$digest#" Dockerfile compose.yaml
done

versions='
import faiss, torch
print("  torch:", torch.__version__)
print("  cuda:", torch.version.cuda or "none")
print("  faiss:", faiss.__version__)
'
{
    echo "# What runs a stage under ITKM_RUNNER=docker; \`sh docker/lock.sh\` writes it."
    sed -n 's/^ARG BASE=/base: /p' Dockerfile
    for device in cpu gpu; do
        echo "$device:"
        name=itkm:$device
        if docker image inspect "$name" >/dev/null 2>&1; then
            pushed=$(docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$name" | head -n 1)
            echo "  image: ${pushed:-$name}"
            docker image inspect --format '  id: {{.Id}}' "$name"
            docker run --rm "$name" python -c "$versions"
        else
            echo "  image: $name"
        fi
    done
} > image.lock.new
mv image.lock.new image.lock
