#!/usr/bin/env bash
# build_and_push.sh [--gpu] [--non-root] REGION [BACKEND...] [-- ARGUMENT...]
#
# Build the images of the backends (by default: all that have a Dockerfile) for SageMaker and push
# each to the Amazon ECR of the account that the AWS CLI is logged in to, into a repository of its
# own, PREFIX-BACKEND, which is created if it is not there. Tags: the version, and the git commit,
# each with -gpu at its end with --gpu. The last line printed is the URI of the last image.
# Arguments after -- go to the build command.
#     --gpu         images for instances with a GPU, such as ml.g4dn.xlarge
#     --non-root    run as user 10001, and not as root, as SageMaker documents
# REPOSITORY_PREFIX is by default maskrcnn-server. Needs AWS CLI 2, or 1.17.10 and newer.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${here%/*}
# shellcheck source=build_tools/container.sh
. "$here/container.sh"

suffix='' options=(--root)
while [ $# -gt 0 ]; do
    case $1 in
    --gpu) suffix=-gpu ;;
    --non-root) options=() ;;
    *) break ;;
    esac
    shift
done
[ -z "$suffix" ] || options+=(--gpu)
[ $# -ge 1 ] || usage
region=$1
case $region in -*) usage ;; esac
shift
backends=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    [ -f "$root/backends/$1/Dockerfile" ] || fail "no such file: backends/$1/Dockerfile"
    backends+=("$1")
    shift
done
[ $# = 0 ] || shift
if [ ${#backends[@]} = 0 ]; then
    for file in "$root"/backends/*/Dockerfile; do
        if [ -n "$suffix" ] && grep -q maskrcnn-openvino "${file%/*}/setup.cfg"; then continue; fi
        backends+=("$(basename "$(dirname "$file")")")
    done
fi
choose_container_tool
command -v aws >/dev/null || fail "the AWS CLI is not installed (command aws)"

account=$(aws sts get-caller-identity --region "$region" --query Account --output text)
partition=$(aws sts get-caller-identity --region "$region" --query Arn --output text | cut -d: -f2)
case $partition in
aws | aws-us-gov) domain=amazonaws.com ;;
aws-cn) domain=amazonaws.com.cn ;;
aws-eusc) domain=amazonaws.eu ;;
*) domain=${ECR_SUFFIX:-} ;;
esac
[ -n "$domain" ] || fail "partition $partition: set ECR_SUFFIX to what its host names end in"
registry=$account.dkr.ecr.$region.$domain

# repository NAME: create it, unless it is there.
repository() {
    local message
    if message=$(aws ecr describe-repositories --region "$region" --repository-names "$1" 2>&1); then
        return
    fi
    case $message in
    *RepositoryNotFoundException*) ;;
    *) fail "$message" ;;
    esac
    aws ecr create-repository --region "$region" --repository-name "$1" \
        --image-scanning-configuration scanOnPush=true >/dev/null
}

version=$("$here/version.sh")
commit=$("$here/version.sh" commit)
for backend in "${backends[@]}"; do
    name=${REPOSITORY_PREFIX:-maskrcnn-server}-${backend//_/-}
    image=$name:$version$suffix
    repository "$name"
    "$here/build_image.sh" "${options[@]}" "$backend" "$image" -- "$@"
    # A log-in lasts for hours, a build may too: log in right before the push.
    aws ecr get-login-password --region "$region" |
        "$CONTAINER_TOOL" login --username AWS --password-stdin "$registry"
    "$here/push_image.sh" "$image" "$registry/$name:$version$suffix" \
        "$registry/$name:$commit$suffix"
    uri=$registry/$name:$version$suffix
done
echo "$uri"
