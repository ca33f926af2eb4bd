// Runs a fuzzer's function on files, without libFuzzer: the regression test of its corpus.
//   NAME_replay FOLDER
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <string>

#include "support/paths.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv) {
    int n_files = 0;
    for (const auto &entry : std::filesystem::directory_iterator(argc > 1 ? argv[1] : ".")) {
        const std::string bytes = orthorank::test::read_bytes(entry.path().string());
        std::printf("%s\n", entry.path().c_str());
        std::fflush(stdout);
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t *>(bytes.data()), bytes.size());
        ++n_files;
    }
    return n_files > 0 ? 0 : 1;
}
