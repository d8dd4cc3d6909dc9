#!/bin/sh
# write_dockerfiles.sh
#
# Write each backends/NAME/Dockerfile anew: build_tools/images/Dockerfile with BACKEND=NAME.
set -eu
cd "$(dirname "$0")/.."
for file in backends/*/Dockerfile; do
    backend=$(basename "$(dirname "$file")")
    {
        echo "# Written by build_tools/write_dockerfiles.sh: edit build_tools/images/Dockerfile."
        sed "1s/\$/=$backend/" build_tools/images/Dockerfile
    } >"$file"
done
