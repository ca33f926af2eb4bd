#!/bin/bash
# tools/setup with a fake dpkg-query, id and sudo, so that nothing is installed.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache
unset ORTHORANK_LLAMA_ARGS ORTHORANK_NO_APT CMAKE_PREFIX_PATH
cp -r "$source_dir/tools" "$work/tools"  # with a .deps of its own
setup=$work/tools/setup

fail() { echo "FAILED: $*" >&2; exit 1; }
fake() { printf '#!/bin/bash\n%s\n' "$2" >"$work/bin/$1"; chmod +x "$work/bin/$1"; }

# A built llama.cpp is never reused for another processor, other options or another compiler.
printf 'processor : 0\nmodel name : A\ncpu MHz : 1\nflags : sse avx\n' >"$work/cpu-a"
printf 'processor : 7\nmodel name : A\ncpu MHz : 2\nflags : sse avx\n' >"$work/cpu-a-again"
printf 'processor : 0\nmodel name : A\ncpu MHz : 1\nflags : sse avx avx2\n' >"$work/cpu-b"
a=$(ORTHORANK_CPUINFO=$work/cpu-a "$setup" --llama-dir)
[[ $a == "$XDG_CACHE_HOME"/orthorank/llama/* ]] || fail "llama.cpp is kept in $a"
[[ $a == "$(ORTHORANK_CPUINFO=$work/cpu-a-again "$setup" --llama-dir)" ]] || fail "clock speed counts"
[[ $a != "$(ORTHORANK_CPUINFO=$work/cpu-b "$setup" --llama-dir)" ]] || fail "processor does not count"
[[ $a != "$(ORTHORANK_CPUINFO=$work/cpu-a ORTHORANK_LLAMA_ARGS=-DGGML_CUDA=ON "$setup" --llama-dir)" ]] ||
  fail "options do not count"
# What is for every processor is one folder, and another one than that of this processor.
portable=$(ORTHORANK_CPUINFO=$work/cpu-a "$setup" --llama-dir portable)
[[ $portable == "$XDG_CACHE_HOME"/orthorank/llama/* && $portable != "$a" ]] || fail "llama.cpp for all is kept in $portable"
[[ $portable == "$(ORTHORANK_CPUINFO=$work/cpu-b "$setup" --llama-dir portable)" ]] ||
  fail "llama.cpp for every processor depends on this one"
mkdir "$work/bin"
fake c++ 'echo another compiler'
[[ $a != "$(ORTHORANK_CPUINFO=$work/cpu-a CXX=$work/bin/c++ "$setup" --llama-dir)" ]] ||
  fail "compiler does not count"

# Without root the exact line is printed, with the missing packages only, and nothing is touched.
fake dpkg-query 'for p in cmake g++ ninja-build; do echo "$p installed"; done; echo "python3 config-files"; exit 1'
fake id 'echo 1000'
fake sudo 'exit 1'
fake apt-get 'echo apt-get was called; exit 1'
if message=$(PATH=$work/bin:$PATH "$setup" 2>&1); then fail "went on without packages: $message"; fi
wanted=$(grep -v -e '^#' -e '^cmake$' -e '^g++$' -e '^ninja-build$' "$source_dir/tools/setup-debian.txt" | xargs)
grep -qx "    apt install $wanted" <<<"$message" || fail "wanted 'apt install $wanted', got: $message"
if message=$(PATH=$work/bin:$PATH "$setup" vulkan 2>&1); then fail "went on without packages: $message"; fi
grep -qx "    apt install $wanted $(grep -v '^#' "$source_dir/tools/setup-vulkan.txt" | xargs)" <<<"$message" ||
  fail "a back end's packages are not asked for: $message"
[[ $message != *"was called"* ]] || fail "$message"
[[ ! -e $work/.deps ]] || fail "touched .deps"

# A back end's compiler is looked for first, and not where one is built or named.
if message=$(PATH=$work/bin:/usr/bin:/bin CUDACXX=no-such-nvcc "$setup" cuda 2>&1); then fail "went on without nvcc: $message"; fi
[[ $message == "setup: no no-such-nvcc was found: "* && $message != *$'\n'* ]] || fail "wanted one line, got: $message"
if message=$(PATH=$work/bin:/usr/bin:/bin CUDACXX=bash "$setup" cuda 2>&1); then fail "went on without packages: $message"; fi
[[ $message == *"apt install"* ]] || fail "$message"
# Help is all that --help does.
said=$(PATH=$work/bin:$PATH "$work/tools/check-vulkan" --help 2>&1) || fail "$said"
[[ $said == "Compares ggml's Vulkan"* && $said == *"[GTEST_ARGUMENT...]"* && $said != *pipefail* ]] || fail "$said"
[[ ! -e $work/.deps ]] || fail "touched .deps"

if message=$("$setup" --nonsense 2>&1); then fail "took --nonsense"; fi
[[ $message == *"unknown argument '--nonsense'"* ]] || fail "$message"
plan=$(make -n -C "$source_dir" portable)
grep -qx 'tools/setup portable' <<<"$plan" || fail "make portable takes ggml for this processor"
plan=$(make -n -C "$source_dir" build BACKEND=vulkan)
grep -qx 'tools/setup vulkan' <<<"$plan" || fail "make drops BACKEND"
echo passed
