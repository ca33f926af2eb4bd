#!/bin/bash
# tools/setup with a fake dpkg-query, id and sudo, so that nothing is installed.
set -euo pipefail
source_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export XDG_CACHE_HOME=$work/cache
unset ORTHORANK_LLAMA_ARGS ORTHORANK_BACKEND_ARGS ORTHORANK_NO_APT CMAKE_PREFIX_PATH CUDACXX
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

# A module for CUDA is never reused for another toolkit nor, where no GPU is named, for another GPU: it would not load,
# or have no code for it. Nothing else depends on these.
fake nvcc 'echo "toolkit ${toolkit:-12}"'
fake nvidia-smi 'echo "${gpu:-8.9}"'
fake other-nvcc 'echo "another toolkit"'
dir_of() { PATH=$work/bin:$PATH ORTHORANK_BACKEND_ARGS=${2:-} "$setup" --llama-dir $1; }
export toolkit gpu
for args in '' -DCMAKE_CUDA_ARCHITECTURES=90; do
  toolkit=12 gpu=8.9
  cuda=$(dir_of cuda "$args") vulkan=$(dir_of vulkan) plain=$(dir_of '')
  [[ $cuda == "$(dir_of cuda "$args")" && $cuda != "$vulkan" && $cuda != "$plain" ]] ||
    fail "CUDA's module is kept in $cuda"
  toolkit=13
  [[ $cuda != "$(dir_of cuda "$args")" ]] || fail "the toolkit does not count ($args)"
  toolkit=12 gpu=9.0
  [[ -n $args || $cuda != "$(dir_of cuda)" ]] || fail "the GPU does not count"
  [[ -z $args || $cuda == "$(dir_of cuda "$args")" ]] || fail "the GPU counts though one is named"
  toolkit=13
  [[ $vulkan == "$(dir_of vulkan)" && $plain == "$(dir_of '')" ]] || fail "a build without CUDA depends on its toolkit"
done
toolkit=12 gpu=8.9
other=-DCMAKE_CUDA_COMPILER=$work/bin/other-nvcc
cuda=$(dir_of cuda "$other")
toolkit=13
[[ $cuda == "$(dir_of cuda "$other")" ]] || fail "the toolkit in PATH counts though another compiler is named"
fake other-nvcc 'echo "a newer one"'
[[ $cuda != "$(dir_of cuda "$other")" ]] || fail "the toolkit of a compiler that is named does not count"
rm "$work"/bin/{nvcc,nvidia-smi,other-nvcc}

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

# A back end's compiler is looked for first.
if message=$(PATH=$work/bin:/usr/bin:/bin CUDACXX=no-such-nvcc "$setup" cuda 2>&1); then fail "went on without nvcc: $message"; fi
[[ $message == "setup: no no-such-nvcc was found: "* && $message != *$'\n'* ]] || fail "wanted one line, got: $message"
if message=$(PATH=$work/bin:/usr/bin:/bin CUDACXX=bash "$setup" cuda 2>&1); then fail "went on without packages: $message"; fi
[[ $message == *"apt install"* ]] || fail "$message"
if message=$(PATH=$work/bin:/usr/bin:/bin ORTHORANK_BACKEND_ARGS=-DCMAKE_CUDA_COMPILER=/no/nvcc "$setup" cuda 2>&1); then
  fail "went on without the nvcc that was named: $message"
fi
[[ $message == "setup: no /no/nvcc was found: "* ]] || fail "$message"
# Help is all that --help does.
said=$(PATH=$work/bin:$PATH "$work/tools/check-vulkan" --help 2>&1) || fail "$said"
[[ $said == "Compares ggml's Vulkan"* && $said == *"[GTEST_ARGUMENT...]"* && $said != *pipefail* ]] || fail "$said"
[[ ! -e $work/.deps ]] || fail "touched .deps"

if message=$("$setup" --nonsense 2>&1); then fail "took --nonsense"; fi
[[ $message == *"unknown argument '--nonsense'"* ]] || fail "$message"
plan=$(make -n -C "$source_dir" portable)
grep -qx 'tools/setup portable' <<<"$plan" || fail "make portable takes ggml for this processor"
[[ $plan != *"tools/setup cuda"* ]] || fail "make portable takes a back end that was not named"
plan=$(make -n -C "$source_dir" portable BACKEND=cuda | grep '^tools/setup' | xargs)
[[ $plan == "tools/setup cuda tools/setup portable" ]] || fail "make portable drops BACKEND: $plan"
plan=$(make -n -C "$source_dir" build BACKEND=vulkan)
grep -qx 'tools/setup vulkan' <<<"$plan" || fail "make drops BACKEND"
echo passed
