// Any bytes as a model file: loading them succeeds or throws Error, and nothing else.
// How to build and run: CMakeLists.txt beside this file.
#include <cstdint>
#include <filesystem>
#include <string>

#include "base/error.h"
#include "model/model.h"
#include "model/vocab.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

using namespace orthorank;
using namespace orthorank::test;

extern "C" int LLVMFuzzerInitialize(int *argc, char ***argv) {
    for (int i = 1; i < *argc; i++) {
        const std::filesystem::path folder = (*argv)[i];
        if (std::filesystem::is_directory(folder) && std::filesystem::is_empty(folder)) {
            for (TinyModel tiny : tiny_models()) {
                tiny.n_layers = 1;
                tiny.n_embd = 8;
                tiny.n_ff = 8;
                tiny.head_dim = 0;
                write_tiny_gguf(tiny, folder / (tiny.name + ".gguf"));
            }
        }
    }
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const TempDir dir;
    const std::string path = dir.file("m.gguf");
    write_bytes(path, std::string(reinterpret_cast<const char *>(data), size));
    try {
        const auto model = Model::load(path);
        const Vocab &vocab = model->vocab();
        vocab.detokenize(vocab.tokenize("the quick brown fox\n\xf0\x9f\x98\x80", true, true));
        const ChatMessage message[] = {{"user", "hi"}};
        vocab.tokenize_chat(message);
    } catch (const Error &) {
    }
    return 0;
}
