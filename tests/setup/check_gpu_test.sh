#!/bin/bash
# check_gpu_test.sh PROGRAM: tools/check-gpu on the CPU, which computes what the CPU computes; on a device that does not;
# and what it says where no GPU is.
set -euo pipefail
program=$(realpath "$1")
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
check() { tools/check-gpu --out "$work/out" --program "$program" "$@" 2>&1; }
refuses() {  # TEXT ARGUMENT...
  local text=$1 message
  shift
  if message=$(check "$@"); then fail "went on with $*: $message"; fi
  [[ $message == "check-gpu: $text"* && $message != *$'\n'* ]] || fail "wanted one line '$text', got: $message"
}
export GGML_VK_VISIBLE_DEVICES='' CUDA_VISIBLE_DEVICES=''  # whatever is in this machine
refuses "unknown argument '--fast'" --fast
refuses "--device: expected a value" --device
refuses "a CPU is what is compared with" --device CPU
refuses "a CPU is what is compared with" --device cpu
[[ -e .deps/model.gguf ]] || { echo "no default model: the rest is not run"; exit 77; }
refuses "no GPU among the devices ("
refuses "there is no device CUDA7 (known: " --device CUDA7

said=$(check --short --device cpu) || fail "$said"
[[ $(grep -c ': CPU [0-9.]*, device [0-9.]*, [+-]0.00%$' <<<"$said") == 2 ]] || fail "no two equal perplexities: $said"
[[ $said == *"== CPU: all is as expected"* ]] || fail "$said"

# The second of the two perplexities, the device's, is another one; both are those of before, so that nothing is computed.
cp "$work/out/perplexity-expected.json" "$work/expected.json"
sed 's/"ppl": /&9/' "$work/expected.json" >"$work/found.json"
cat >"$work/wrong" <<EOF
#!/bin/bash
case "\$*" in
  *perplexity-expected*) cp "$work/expected.json" "\${@: -1}" ;;
  *perplexity-found*) cp "$work/found.json" "\${@: -1}" ;;
  *) exec "$program" "\$@" ;;
esac
EOF
chmod +x "$work/wrong"
if said=$(check --short --device CPU --program "$work/wrong"); then fail "a wrong device passed: $said"; fi
[[ $said == *"check-gpu: the device's perplexity is off by more than 2%"* ]] || fail "$said"
echo passed
