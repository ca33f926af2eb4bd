// requantize IN.gguf OUT.gguf TYPE: a copy of a model in another type (Q4_0, Q8_0, BF16, F32, ...)
// made with libllama's quantiser, every matrix in that type. For measurements on several types of
// one model; docs/models.md says what requantising costs.
#include <cstdio>
#include <exception>

#include "model/vocab.h"

int main(int argc, char **argv) {
    if (argc != 4) {
        std::fprintf(stderr, "usage: requantize IN.gguf OUT.gguf TYPE\n");
        return 2;
    }
    try {
        orthorank::quantize(argv[1], argv[2], argv[3], /*pure=*/true);
    } catch (const std::exception &error) {
        std::fprintf(stderr, "requantize: %s\n", error.what());
        return 1;
    }
    return 0;
}
