// Any bytes as a model file: its metadata and table of tensors. Loading succeeds or throws Error.
#include "fuzz/fuzz_file.h"
#include "model/model.h"
#include "model/vocab.h"

using namespace orthorank;
using namespace orthorank::test;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const std::string path = as_file(data, size);
    may_refuse([&] {
        const auto model = Model::load(path);
        const Vocab &vocab = model->vocab();
        vocab.detokenize(vocab.tokenize("the quick brown fox\n\xf0\x9f\x98\x80", true, true));
    });
    return 0;
}
