#!/usr/bin/env bash
# ci_image.sh [--gpu] [--root] [BACKEND]
#
# Build, smoke-test, push and pull an image without a Docker daemon or a registry outside: by
# buildah, as root, on a base image of Debian's packages. Installs with apt what is missing. Where
# that cannot work it prints SKIP and the reason, and exits with 0. BACKEND is by default tensorpack.
#     --gpu     the image for GPUs: 4 GB are downloaded, 30 GB of disk are needed; it is not pushed
#     --root    the image that runs as root, as SageMaker documents
# DEBIAN_SUITE (bookworm) and DEBIAN_MIRROR say which Debian; this machine's certificates and pip
# configuration are lent to the build, and stay out of the image.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/*}
# shellcheck source=build_tools/container.sh
. "$here/container.sh"

gpu=() user=()
while [ $# -gt 0 ]; do
    case $1 in
    --gpu) gpu=(--gpu) ;;
    --root) user=(--root) ;;
    -*) usage ;;
    *) break ;;
    esac
    shift
done
[ $# -le 1 ] || usage
backend=${1:-tensorpack}
suite=${DEBIAN_SUITE:-bookworm}
[ -f "$root/backends/$backend/Dockerfile" ] || fail "no such file: backends/$backend/Dockerfile"

skip() {
    echo "SKIP ${0##*/}: $*"
    exit 0
}

[ "$(id -u)" = 0 ] || skip "needs root, for debootstrap and buildah's isolation by chroot"
chroot / true 2>/dev/null || skip "this machine does not allow chroot"
unshare --mount sh -c 'mount --bind / /mnt' 2>/dev/null || skip "this machine does not allow mounts"
missing=()
for tool in buildah debootstrap docker-registry; do
    command -v "$tool" >/dev/null || missing+=("$tool")
done
if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || skip "no apt-get to install ${missing[*]} with"
    apt-get update -qq
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
fi
export CONTAINER_TOOL=buildah BUILDAH_ISOLATION=chroot
buildah info >/dev/null 2>&1 || skip "buildah does not run: $(buildah info 2>&1 | tail -n 1)"

base=localhost/maskrcnn-server-base:$suite-$$
image=localhost/maskrcnn-server-${backend//_/-}:ci-$$
work=$(mktemp -d)
registry_pid='' container=''

clean_up() {
    local status=$?
    trap - EXIT
    [ -z "$registry_pid" ] || kill "$registry_pid" || true
    [ -z "$container" ] || buildah rm "$container" >/dev/null || true
    for made in "$image" "$base"; do
        buildah rmi --force "$made" >/dev/null 2>&1 || true
    done
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 1' INT TERM

SECONDS=0
step() {
    echo "== $1 ($SECONDS s)"
}

step "base image: Debian $suite"
debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates \
    "$suite" "$work/base" ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$work/log" 2>&1 ||
    { tail -n 20 "$work/log" >&2; fail "debootstrap failed"; }
rm -rf "$work/base/var/cache/apt" "$work/base/var/lib/apt/lists"
container=$(buildah from scratch)
buildah add --quiet "$container" "$work/base" / >/dev/null
buildah commit --quiet --rm "$container" "$base" >/dev/null
container=''
rm -rf "$work/base"

# What pip is told on this machine, as one file, and the local paths that it names.
python3 - >"$work/pip.conf" <<'END'
import ast, subprocess, sys
command = [sys.executable, "-m", "pip", "config", "list"]
values = {}
for line in subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines():
    key, _, value = line.partition("=")
    if key.startswith(("global.", ":env:.")):
        name = key.rpartition(".")[2]
        if key.startswith(":env:") or name not in values:
            values[name] = str(ast.literal_eval(value)).replace("\n", " ")
print("[global]", *(f"{name} = {value}" for name, value in values.items()), sep="\n")
END
volumes=(--volume "$work/pip.conf:/etc/pip.conf:ro")
[ ! -d /etc/ssl/certs ] || volumes+=(--volume /etc/ssl/certs:/etc/ssl/certs:ro)
# shellcheck disable=SC2013 # a line may name several paths
for word in $(sed 's/^[^=]*=//' "$work/pip.conf"); do
    path=${word#file://}
    path=${path%/simple} # an index's files may be beside it
    case $path in
    /etc/ssl/certs/*) ;;
    /*) [ ! -e "$path" ] || volumes+=(--volume "$path:$path:ro") ;;
    esac
done

step "image of $backend"
"$here/build_image.sh" "${gpu[@]}" "${user[@]}" "$backend" "$image" -- --build-arg BASE_IMAGE="$base" "${volumes[@]}" \
    >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "build_image.sh failed"; }
sed -n '/^| package/,$p' "$work/log"

if [ "$backend" = tensorpack ] || [ "$backend" = onnx ]; then
    step "smoke test"
    "$here/smoke_image.sh" "${user[@]}" "$image"
fi

if [ ${#gpu[@]} -gt 0 ]; then
    step "done"
    exit
fi
step "push to a registry on this machine, and pull"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])')
cat >"$work/registry.yml" <<END
version: 0.1
storage: {filesystem: {rootdirectory: $work/registry}}
http: {addr: "127.0.0.1:$port"}
END
docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 &
registry_pid=$!
for _ in $(seq 50); do
    ! (: <"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break
    sleep 0.2
done
pushed=$("$here/push_image.sh" "$image" "127.0.0.1:$port/maskrcnn-server:ci" -- --tls-verify=false) ||
    { tail "$work/registry.log" >&2; fail "push_image.sh failed"; }
id=$(buildah images --quiet --no-trunc "$image")
buildah rmi "$image" >/dev/null
# buildah refuses content that has another digest than the one asked for.
pulled=$(buildah pull --quiet --tls-verify=false \
    "docker://127.0.0.1:$port/maskrcnn-server@${pushed##*@}")
buildah rmi --force "$pulled" >/dev/null
[ "${id#sha256:}" = "$pulled" ] || fail "pushed image $id, pulled $pulled"
echo "ok: pushed $pushed and pulled the same"
du -sm "$work/registry" | awk '{ print "ok: compressed, it has " $1 " MiB" }'
step "done"
