#!/bin/sh
# write_dockerfiles.sh
#
# Write each backends/NAME/Dockerfile anew: build_tools/images/Dockerfile with BACKEND=NAME, and with
# ENGINE=tensorflow for a backend that requires it.
set -eu
cd "$(dirname "$0")/.."
for file in backends/*/Dockerfile; do
    folder=$(dirname "$file")
    backend=$(basename "$folder")
    engine=openvino
    if grep -q maskrcnn-tensorflow "$folder/setup.cfg"; then engine=tensorflow; fi
    {
        echo "# Written by build_tools/write_dockerfiles.sh: edit build_tools/images/Dockerfile."
        sed "1s/\$/=$backend/; 2s/=.*/=$engine/" build_tools/images/Dockerfile
    } >"$file"
done
