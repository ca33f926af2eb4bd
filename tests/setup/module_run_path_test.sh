#!/bin/bash
# A module that is linked with a toolkit's library says where it lies, though CMake leaves that folder out of run paths:
# tools/setup-backend.cmake, with a project and a toolkit as small as can be. The library's folder is one in which the
# compiler looks unasked, as nvcc does in its own.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

mkdir "$work/toolkit" "$work/sub"
echo 'int of_toolkit(void) { return 1; }' >"$work/toolkit/toolkit.c"
"${CC:-cc}" -shared -fPIC -o "$work/toolkit/libtoolkit.so" "$work/toolkit/toolkit.c"
cat >"$work/toolkit/FindCUDAToolkit.cmake" <<EOF
set(CUDAToolkit_FOUND TRUE)
set(CUDAToolkit_LIBRARY_DIR $work/toolkit)
EOF
cat >"$work/CMakeLists.txt" <<'EOF'
cmake_minimum_required(VERSION 3.25)
project(orthorank_llama LANGUAGES C)
set(CMAKE_INSTALL_RPATH "$ORIGIN")
add_subdirectory(sub)
EOF
cat >"$work/sub/CMakeLists.txt" <<'EOF'
file(WRITE ${CMAKE_CURRENT_BINARY_DIR}/module.c "int of_toolkit(void); int f(void) { return of_toolkit(); }")
add_library(ggml-cuda MODULE ${CMAKE_CURRENT_BINARY_DIR}/module.c)
target_link_libraries(ggml-cuda PRIVATE ${CMAKE_SOURCE_DIR}/toolkit/libtoolkit.so)
EOF
export LIBRARY_PATH=$work/toolkit${LIBRARY_PATH:+:$LIBRARY_PATH}  # where the compiler looks unasked
run_path() {  # BUILD OPTION...: of the module, built in this folder
  local build=$work/$1
  shift
  cmake -G Ninja -S "$work" -B "$build" -DCMAKE_MODULE_PATH="$work/toolkit" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON \
    -DCMAKE_INSTALL_RPATH_USE_LINK_PATH=ON "$@" >"$work/log" 2>&1 && cmake --build "$build" >>"$work/log" 2>&1 ||
    fail "$(cat "$work/log")"
  readelf -d "$build/sub/libggml-cuda.so" | sed -n 's/.*(RU*N*PATH).*\[\(.*\)\]/\1/p'
}
include=$(grep -o 'CMAKE_PROJECT_orthorank_llama_INCLUDE="[^"]*"' "$source_dir/tools/setup" | tr -d '"') ||
  fail "tools/setup includes nothing"
[[ $(run_path without) == '$ORIGIN' ]] || fail "CMake says where the toolkit is: what is tested is of no use"
found=$(run_path with -D"${include/'$tools'/$source_dir/tools}")
[[ $found == "\$ORIGIN:$work/toolkit" ]] || fail "the module looks for the toolkit in $found"
echo passed
