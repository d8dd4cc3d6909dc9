#!/usr/bin/env bash
# smoke_image.sh [--root] IMAGE [MODEL PICTURE]
#
# Start an image as SageMaker does, `IMAGE serve` with a model folder at /opt/ml/model, and check:
# it does not run as root, unless --root says that it is to; /ping answers 200 within START_TIMEOUT
# seconds (120); its HEALTHCHECK passes; its plugins load; a picture is answered right; SIGTERM ends
# it within 30 s with exit code 0 and, by buildah, loses no request of TERMINATIONS (1) containers
# under load. An image for GPUs has to say which device computes and, on a machine without one,
# warn, and with MASKRCNN_DEVICE=cuda end with an error.
# Without MODEL, the demo model is served (exported for an image with onnx), has to find what
# TensorPack's own code found, and the tests of the contract pass; with one, it has to find what the
# backend in this environment finds.
# Needs Python with this project installed: PYTHON, by default .venv/bin/python. CONTAINER_TOOL names
# docker, podman or buildah; by default the first that works.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/*}
# shellcheck source=build_tools/container.sh
. "$here/container.sh"

root_allowed=''
if [ "${1:-}" = --root ]; then
    root_allowed=1
    shift
fi
case ${1:-} in -*) usage ;; esac
case $# in
1)
    model=$root/backends/tensorpack/maskrcnn_tensorpack/demo/model
    picture=$root/tests/demo/golden/shapes-9500003.png
    reference=${picture%.png}.npz
    ;;
3)
    model=$(cd "$2" && pwd)
    picture=$3
    reference=$model
    ;;
*) usage ;;
esac
image=$1
python=${PYTHON:-$root/.venv/bin/python}
"$python" -c 'import maskrcnn_server' || fail "PYTHON=$python: maskrcnn_server is not installed"
choose_container_tool

step() {
    echo "ok: $*"
}

# of_config EXPRESSION: what Python makes of the image's configuration, in `c`.
config=$(image_config "$image")
of_config() {
    "$python" -c 'import json, sys; c = json.loads(sys.argv[1])
value = eval(sys.argv[2]); print(*value if isinstance(value, list) else [value], sep="\n")' \
        "$config" "$1"
}

cuda=$(of_config '(c.get("Labels") or {}).get("maskrcnn.cuda", "")')
title=$(of_config '(c.get("Labels") or {}).get("org.opencontainers.image.title", "")')
exported=''
if [ $# = 1 ] && [[ $title = *' with onnx on '* ]]; then
    exported=$(mktemp -d)
    "$python" -m maskrcnn_handlers export "$model" "$exported/model" \
        --format onnx --backend tensorpack >/dev/null
    chmod -R a+rX "$exported"
    model=$exported/model
fi

user=$(of_config 'c.get("User") or "root"')
case $user in
0 | 0:* | root | root:*) [ -n "$root_allowed" ] || fail "the image runs as $user" ;;
esac
step "the image's user is $user"
mapfile -t entrypoint < <(of_config 'c["Entrypoint"]')
[ "${entrypoint[0]}" != /bin/sh ] || fail "ENTRYPOINT is in shell form: signals do not arrive"
step "the entry point is ${entrypoint[*]}"
mapfile -t health < <(of_config 'c["Healthcheck"]["Test"][1:]')

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
container='' runner='' log=$(mktemp)

# start FOLDER [VARIABLE=VALUE]: IMAGE serve, with the model at FOLDER; until /ping answers 200.
# buildah run starts a program as given, on this machine's network, and has no command to signal it.
start() {
    options=(--volume "$model:$1:ro" --env "SAGEMAKER_BIND_TO_PORT=$port" ${2:+--env "$2"})
    if is_buildah; then
        container=$(buildah_container "$image")
        "$CONTAINER_TOOL" run "${options[@]}" "$container" -- "${entrypoint[@]}" serve >"$log" 2>&1 &
        runner=$!
    else
        container=$("$CONTAINER_TOOL" run --detach "${options[@]}" \
            --publish "127.0.0.1:$port:$port" "$image" serve)
    fi
    SECONDS=0
    until ping; do
        running || fail "the server ended before it was ready"
        [ "$SECONDS" -lt "${START_TIMEOUT:-120}" ] || fail "no /ping of 200 after $SECONDS s"
        sleep 0.5
    done
}

running() {
    if is_buildah; then
        kill -0 "$runner" 2>/dev/null
    else
        [ "$("$CONTAINER_TOOL" inspect --format '{{.State.Running}}' "$container")" = true ]
    fi
}

inside() {
    if is_buildah; then
        "$CONTAINER_TOOL" run "${options[@]}" "$container" -- "$@"
    else
        "$CONTAINER_TOOL" exec "$container" "$@"
    fi
}

# server_process PID: of a process's descendants, the last: the server under what started it.
server_process() {
    local pid=$1 child
    while child=$(cat "/proc/$pid/task/"*/children 2>/dev/null | awk '{ print $1; exit }') &&
        [ -n "$child" ]; do
        pid=$child
    done
    echo "$pid"
}

server_user() {
    if is_buildah; then
        awk '$1 == "Uid:" { print $2 }' "/proc/$(server_process "$runner")/status"
    else
        inside id -u
    fi
}

# terminate: by SIGTERM, and see that it ends as SageMaker wants.
terminate() {
    local code
    SECONDS=0
    if is_buildah; then
        # The last descendant may be a short-lived one of the server.
        until kill -TERM "$(server_process "$runner")" 2>/dev/null; do
            running || fail "the server ended before SIGTERM"
            sleep 0.1
        done
    else
        "$CONTAINER_TOOL" kill --signal TERM "$container" >/dev/null
    fi
    while running; do
        [ "$SECONDS" -lt 30 ] || fail "still running 30 s after SIGTERM"
        sleep 0.2
    done
    code=$(exit_code)
    [ "$code" = 0 ] || fail "exit code $code after SIGTERM"
    step "SIGTERM ended it within $((SECONDS + 1)) s with exit code 0"
}

# terminate_under_load: no request is lost meanwhile. Not by docker or podman: their proxy of a
# published port accepts connections for a server that is gone.
terminate_under_load() {
    local asking said
    "$python" "$here/check_termination.py" "http://127.0.0.1:$port" >"$log.load" 2>&1 &
    asking=$!
    until grep -q asking "$log.load"; do
        kill -0 "$asking" || fail "$(cat "$log.load")"
        sleep 0.1
    done
    sleep "1.$((RANDOM % 10))"
    terminate
    wait "$asking" || fail "requests were lost: $(cat "$log.load")"
    said=$(tail -n 1 "$log.load")
    step "SIGTERM under load: $said"
}

exit_code() {
    if is_buildah; then
        local code=0
        wait "$runner" || code=$?
        echo "$code"
    else
        "$CONTAINER_TOOL" inspect --format '{{.State.ExitCode}}' "$container"
    fi
}

show_log() {
    if is_buildah; then cat "$log"; else "$CONTAINER_TOOL" logs "$container" 2>&1; fi
}

remove() {
    [ -n "$container" ] || return 0
    if is_buildah; then
        if [ -n "$runner" ] && running; then kill -KILL "$(server_process "$runner")" || true; fi
        wait "$runner" 2>/dev/null || true
        "$CONTAINER_TOOL" rm "$container" >/dev/null || true
    else
        "$CONTAINER_TOOL" rm --force "$container" >/dev/null || true
    fi
    container=''
}

# refuses_cpu: with MASKRCNN_DEVICE=cuda, the server ends with an error instead of using the CPU.
refuses_cpu() {
    local outcome status=0
    options=(--volume "$model:/opt/ml/model:ro" --env MASKRCNN_DEVICE=cuda
        --env "SAGEMAKER_BIND_TO_PORT=$port")
    if is_buildah; then
        container=$(buildah_container "$image") runner=''
        outcome=$(timeout 120 "$CONTAINER_TOOL" run "${options[@]}" "$container" -- \
            "${entrypoint[@]}" serve 2>&1) || status=$?
        remove
    else
        outcome=$(timeout 120 "$CONTAINER_TOOL" run --rm "${options[@]}" "$image" serve 2>&1) ||
            status=$?
    fi
    case $status-$outcome in
    0-* | 124-*) fail "MASKRCNN_DEVICE=cuda starts without a GPU: $outcome" ;;
    *MASKRCNN_DEVICE=cuda*)
        step "exit code $status: $(grep --max-count 1 MASKRCNN_DEVICE=cuda <<<"$outcome")"
        ;;
    *) fail "MASKRCNN_DEVICE=cuda: the error does not name it: $outcome" ;;
    esac
}

clean_up() {
    local status=$?
    trap - EXIT
    [ "$status" = 0 ] || [ -z "$container" ] || show_log >&2
    remove
    rm -f "$log" "$log.load"
    [ -z "$exported" ] || rm -rf "$exported"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

ping() {
    "$python" -c 'import sys, urllib.request as r
try:
    r.build_opener(r.ProxyHandler({})).open(sys.argv[1], timeout=2)
except OSError:
    sys.exit(1)' "http://127.0.0.1:$port/ping"
}

# contract FILE [VARIABLE=VALUE...]: what a client may rely on, asked by a file of tests/contract.
contract() {
    local outcome
    outcome=$(cd "$root" && env CONTRACT_URL="http://127.0.0.1:$port" CONTRACT_NAME=container \
        "${@:2}" "$python" -m pytest -q -p no:cacheprovider "tests/contract/$1") || fail "$outcome"
    step "$1: ${outcome##*$'\n'}"
}

if [ "$reference" != "$model" ]; then
    folder=/opt/ml/models/shapes/model
    start "$folder" SAGEMAKER_MULTI_MODEL=true
    contract test_multi_model.py CONTRACT_MODEL_DIR="$folder"
    terminate
    remove
fi
start /opt/ml/model
step "/ping is 200 after $SECONDS s, on the port that SAGEMAKER_BIND_TO_PORT names"
if [ -n "$cuda" ] && [ ! -e /dev/nvidiactl ]; then
    warning=$(show_log | grep --max-count 1 'NO GPU IS USED') ||
        fail "an image for GPUs computes on the CPU, and does not say so"
    step "$warning"
fi
[ -n "$root_allowed" ] || [ "$(server_user)" != 0 ] || fail "the server runs as root"
step "the server runs as user $(server_user)"
inside "${health[@]}" >/dev/null || fail "HEALTHCHECK fails: ${health[*]}"
step "HEALTHCHECK passes"
plugins=$(inside maskrcnn-server backends) || fail "a plugin is broken: $plugins"
inside python3 -c 'import httptools, pybase64, uvloop
import maskrcnn_annotation_formats.plugin, maskrcnn_playground.routes' ||
    fail "the image lacks a package"
step "every plugin loads"
answer=$("$python" "$here/check_answer.py" "http://127.0.0.1:$port" "$picture" "$reference")
step "$answer"
[ "$reference" = "$model" ] || contract test_contract.py
terminate
if is_buildah && [ "$reference" != "$model" ]; then
    for _ in $(seq "${TERMINATIONS:-1}"); do
        remove
        start /opt/ml/model
        terminate_under_load
    done
fi
if [ -n "$cuda" ] && [ ! -e /dev/nvidiactl ]; then
    remove
    refuses_cpu
fi
