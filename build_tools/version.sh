#!/bin/sh
# version.sh [commit]
#
# Print the version in setup.cfg, or the git commit, with -dirty if files differ from it.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
'')
    sed -n 's/^version = //p' "$root/setup.cfg"
    ;;
commit)
    git -C "$root" describe --always --abbrev=12 --exclude='*' --dirty 2>/dev/null || echo unknown
    ;;
*)
    sed -n '2,/^[^#]/{s/^# \{0,1\}//p}' "$0" >&2
    exit 2
    ;;
esac
