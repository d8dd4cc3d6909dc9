#!/bin/sh
# make_venv.sh PYTHON DIR: make a virtual environment in DIR, unless a working one is there.
# Debian ships venv apart from Python: where it is missing and we may, install it.
set -eu
python=$1 dir=$2

if "$dir/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi
rm -rf "$dir"
if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -qq
        apt-get install -qq -y --no-install-recommends python3-venv
    else
        echo "$python cannot make virtual environments: install python3-venv" >&2
        exit 1
    fi
fi
"$python" -m venv "$dir"
