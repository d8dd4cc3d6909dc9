# shellcheck shell=bash
# What the image scripts share: which program builds and runs containers, and how to ask it.
# CONTAINER_TOOL names it (docker, podman, buildah, or a path); unset, the first that works.

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

usage() {
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

choose_container_tool() {
    if [ -z "${CONTAINER_TOOL:-}" ]; then
        for tool in docker podman; do
            if command -v "$tool" >/dev/null && "$tool" info >/dev/null 2>&1; then
                CONTAINER_TOOL=$tool
                break
            fi
        done
    fi
    if [ -z "${CONTAINER_TOOL:-}" ] && command -v buildah >/dev/null; then
        CONTAINER_TOOL=buildah
    fi
    [ -n "${CONTAINER_TOOL:-}" ] || fail "no docker with a running daemon, no podman, no buildah"
    command -v "$CONTAINER_TOOL" >/dev/null || fail "CONTAINER_TOOL=$CONTAINER_TOOL: not found"
}

is_buildah() {
    [ "${CONTAINER_TOOL##*/}" = buildah ]
}

# in_image IMAGE PROGRAM ARGUMENT...: run a program in a fresh container of the image.
in_image() {
    local image=$1 container status=0
    shift
    if ! is_buildah; then
        "$CONTAINER_TOOL" run --rm --entrypoint "$1" "$image" "${@:2}"
        return
    fi
    container=$(buildah_container "$image")
    "$CONTAINER_TOOL" run "$container" -- "$@" || status=$?
    "$CONTAINER_TOOL" rm "$container" >/dev/null
    return "$status"
}

buildah_container() {
    "$CONTAINER_TOOL" from --pull-never "$1"
}

# image_size IMAGE
image_size() {
    if is_buildah; then
        "$CONTAINER_TOOL" images --json "$1" | sed -n 's/.*"size": "\(.*\)".*/\1/p' | head -n 1
    else
        "$CONTAINER_TOOL" image inspect --format '{{.Size}}' "$1" |
            awk '{ printf "%.2f GB\n", $1 / 1e9 }'
    fi
}

# image_config IMAGE: the image's configuration (User, Entrypoint, Env, ...) as JSON.
image_config() {
    if is_buildah; then
        "$CONTAINER_TOOL" inspect --type image "$1"
    else
        "$CONTAINER_TOOL" image inspect "$1"
    fi | python3 -c '
import json, sys
found = json.load(sys.stdin)
found = found["Docker"]["config"] if isinstance(found, dict) else found[0]["Config"]
json.dump(found, sys.stdout)'
}
