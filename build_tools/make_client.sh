#!/usr/bin/env bash
# make_client.sh NAME [ARGUMENT...]
#
# Make the virtual environment build/clients/NAME, unless it is there: a real client of this server,
# in the versions of build_tools/clients/NAME.txt. Clients exclude one another's dependencies, and
# this project's. Arguments go to `pip install`. PYTHON needs pip: by default .venv/bin/python.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
name=${1:?NAME}
shift
wanted=$root/build_tools/clients/$name.txt
folder=$root/build/clients/$name
python=${PYTHON:-$root/.venv/bin/python}

mkdir -p "${folder%/*}"
exec 9>"$folder.lock"
flock 9
if cmp -s "$wanted" "$folder/made-of.txt"; then
    exit
fi
rm -rf "$folder"
"$python" -m venv --without-pip "$folder"
# Most modules are never imported, and compiling all of them takes most of the time.
"$python" -m pip --python "$folder/bin/python" install --quiet --no-compile "$@" \
    --requirement "$wanted"
cp "$wanted" "$folder/made-of.txt"
