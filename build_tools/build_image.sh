#!/usr/bin/env bash
# build_image.sh [--gpu] [--root] BACKEND [TAG] [-- ARGUMENT...]
#
# Build the image of a backend (a folder of backends/ with a Dockerfile) and print what it weighs.
# TAG is by default maskrcnn-server-BACKEND:VERSION, with dashes, and -gpu at its end with --gpu.
#     --gpu     compute on NVIDIA GPUs, with PyTorch and CUDA's libraries (and on a CPU without one)
#     --root    run as root, as SageMaker documents, and not as user 10001
# The arguments after -- go to the build command of docker, podman or buildah, such as
#     build_image.sh tensorpack -- --build-arg BASE_IMAGE=...
# CONTAINER_TOOL names the program; by default the first of the three that works.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/*}
# shellcheck source=build_tools/container.sh
. "$here/container.sh"

backend='' image='' suffix='' chosen=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    case $1 in
    --gpu)
        suffix=-gpu
        cuda=$(sed -n 's/^nvidia-cuda-runtime-cu[0-9]*==\([0-9]*\.[0-9]*\).*/\1/p' \
            "$here/requirements/torch-gpu.txt")
        for value in ENGINE=torch REQUIREMENTS=torch-gpu CUDA="$cuda"; do
            chosen+=(--build-arg "$value")
        done
        ;;
    --root) chosen+=(--build-arg RUN_AS=0:0) ;;
    -*) usage ;;
    *) if [ -z "$backend" ]; then backend=$1; elif [ -z "$image" ]; then image=$1; else usage; fi ;;
    esac
    shift
done
[ -n "$backend" ] || usage
[ $# = 0 ] || shift
dockerfile=$root/backends/$backend/Dockerfile
[ -f "$dockerfile" ] || fail "no such file: backends/$backend/Dockerfile"
if [ -n "$suffix" ] && grep -q maskrcnn-openvino "$root/backends/$backend/setup.cfg"; then
    fail "--gpu: $backend computes with OpenVINO, which has no NVIDIA GPUs"
fi
choose_container_tool

version=$("$here/version.sh")
image=${image:-maskrcnn-server-${backend//_/-}:$version$suffix}
# A remote's address may carry a password: it stays out of the label.
source=$(git -C "$root" config --get remote.origin.url | sed 's#//[^@/]*@#//#') || source=''
if is_buildah; then command=(bud --format docker); else command=(build); fi
"$CONTAINER_TOOL" "${command[@]}" --file "$dockerfile" --tag "$image" \
    --build-arg VERSION="$version" \
    --build-arg REVISION="$("$here/version.sh" commit)" \
    --build-arg SOURCE="$source" \
    "${chosen[@]}" "$@" "$root"

in_image "$image" python3 -c "$(cat "$here/package_sizes.py")"
echo "$image: $(image_size "$image")"
