#!/bin/bash
# cmake/Dependencies.cmake with fake packages of several versions.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset CMAKE_PREFIX_PATH
accepted='accepted: ggml 0.25.x with libllama 0.5.x'

fail() { echo "FAILED: $*" >&2; exit 1; }
fake_package() {  # prefix package version
  mkdir -p "$1/lib/cmake/$2"
  echo "set(${2^^}_VERSION $3)" >"$1/lib/cmake/$2/$2-config.cmake"
}
fake_llama() { fake_package "$work/$1" ggml "$2"; fake_package "$work/$1" llama "$3"; }

mkdir "$work/project"
cat >"$work/project/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.25)
project(versions LANGUAGES NONE)
macro(find_package name)  # ours are looked for, the others are taken as there
  if("\${name}" MATCHES "ggml|llama")
    _find_package(\${ARGV})
  endif()
endmacro()
macro(find_path name)
  set(\${name} /there)
endmacro()
macro(find_library name)
  set(\${name} /there)
endmacro()
include($source_dir/cmake/Dependencies.cmake)
EOF
configure() { cmake -S "$work/project" -B "$work/build" "$@" 2>&1 | tr -s '\n ' ' '; }
refuses() {
  local text=$1 message
  shift
  if message=$(configure "$@"); then fail "configured with $*: $message"; fi
  [[ $message == *"$text"* && $message == *"$accepted"* ]] || fail "wanted '$text ... $accepted', got: $message"
}

fake_llama good 0.25.3 0.5.0-dev
fake_llama new-ggml 0.26.0 0.5.0
fake_llama old-llama 0.25.0 0.4.9
refuses "ggml was not found under $work/project/.deps/llama"
refuses "ggml was not found under $work/nothing" -DCMAKE_PREFIX_PATH="$work/nothing"
refuses "ggml 0.26.0 was found" -DCMAKE_PREFIX_PATH="$work/new-ggml"
refuses "llama 0.4.9 was found" -DCMAKE_PREFIX_PATH="$work/old-llama"
message=$(configure -DCMAKE_PREFIX_PATH="$work/good") || fail "$message"
[[ $message == *"ggml 0.25.3 and libllama 0.5.0-dev from $work/good"* ]] || fail "$message"
# The environment counts as well, and a tree that was configured before looks at the new place.
rm -r "$work/build"
message=$(CMAKE_PREFIX_PATH=$work/good configure) || fail "$message"
CMAKE_PREFIX_PATH=$work/new-ggml refuses "ggml 0.26.0 was found"
echo passed
