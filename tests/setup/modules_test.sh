#!/bin/bash
# modules_test.sh PROGRAM LIB MODEL: that the program loads back ends which lie as modules in backends/ beside libggml. LIB is the
# folder of its libggml. A module of our own says that it was asked; where ggml itself was built with modules,
# the CPU's is loaded too, and computes.
set -euo pipefail
program=$1 lib=$2 model=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# The same libraries in another place, with one module more; of the names that ggml looks for, one that nobody has here.
mkdir "$work/backends"
for file in "$lib"/lib*.so* "$lib"/backends/*.so; do
  [[ ! -e $file ]] || ln -s "$(realpath "$file")" "$work/${file#"$lib"/}"
done
rm "$work/libggml.so.0"
cp -L "$lib/libggml.so.0" "$work"
cat >"$work/module.c" <<'EOF'
#include <stdio.h>
void *ggml_backend_init(void) {
    fputs("the module was asked for its devices\n", stderr);
    return NULL;
}
EOF
"${CC:-cc}" -shared -fPIC -o "$work/backends/libggml-zendnn.so" "$work/module.c"
said=$(LD_PRELOAD=$work/libggml.so.0 "$program" info -m "$model" 2>&1) || fail "$said"
[[ $said == *"the module was asked for its devices"* ]] || fail "the module was not loaded: $said"
said=$("$program" info -m "$model" 2>&1) || fail "$said"
[[ $said != *"the module was asked"* ]] || fail "a module of another place was loaded: $said"

if compgen -G "$lib/backends/libggml-cpu*.so" >/dev/null; then
  said=$(LD_DEBUG=files "$program" generate -m "$model" -p the -n 1 --device CPU 2>&1) || fail "$said"
  grep -q "calling init: .*/backends/libggml-cpu" <<<"$said" || fail "the CPU's module was not loaded"
fi
echo passed
