#!/usr/bin/env bash
# push_image.sh IMAGE REGISTRY/REPOSITORY:TAG... [-- ARGUMENT...]
#
# Push a local image under one or more names, and print each with its digest,
# REGISTRY/REPOSITORY:TAG@sha256:..., which pins it. Arguments after -- go to the push command, such
# as --tls-verify=false. Log in first: docker, podman or buildah login REGISTRY.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=build_tools/container.sh
. "$here/container.sh"

[ $# -ge 2 ] || usage
image=$1
shift
targets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
    -*) usage ;;
    */*:*) targets+=("$1") ;;
    *) fail "$1: not REGISTRY/REPOSITORY:TAG" ;;
    esac
    shift
done
[ ${#targets[@]} -gt 0 ] || usage
[ $# = 0 ] || shift
choose_container_tool

for target in "${targets[@]}"; do
    if is_buildah; then
        digest_file=$(mktemp)
        "$CONTAINER_TOOL" push --digestfile "$digest_file" "$@" "$image" "docker://$target" >&2
        digest=$(cat "$digest_file")
        rm -f "$digest_file"
    else
        "$CONTAINER_TOOL" tag "$image" "$target"
        "$CONTAINER_TOOL" push "$@" "$target" >&2
        digest=$("$CONTAINER_TOOL" image inspect \
            --format '{{range .RepoDigests}}{{println .}}{{end}}' "$target" |
            sed -n "s#^${target%:*}@##p" | head -n 1)
    fi
    echo "$target@$digest"
done
