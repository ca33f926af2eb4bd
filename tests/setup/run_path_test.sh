#!/bin/bash
# run_path_test.sh PROGRAM: that it says where to find what its libraries need themselves. An installed
# llama.cpp, whose libggml needs its back ends' libraries and does not say where they are, starts so.
# And that cpp-httplib's functions are found in its own library before those of another version that a
# libllama-common may export: serve aborts with these.
set -euo pipefail
fail() { echo "FAILED: $*" >&2; exit 1; }
dynamic=$(readelf -d "$1")
grep -q '(RPATH)' <<<"$dynamic" || fail "$1 has no RPATH: what libggml needs would not be found"
! grep -q '(RUNPATH)' <<<"$dynamic" || fail "$1 has a RUNPATH, which hides its RPATH"
needed=$(grep '(NEEDED)' <<<"$dynamic")
http=$(grep -n 'cpp-httplib' <<<"$needed" | cut -d: -f1)
common=$(grep -n 'llama-common' <<<"$needed" | cut -d: -f1)
[[ -z $common || $http -lt $common ]] || fail "$1 loads libllama-common before cpp-httplib"
echo passed
