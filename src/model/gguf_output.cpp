#include "model/gguf_output.h"

#include <filesystem>
#include <fstream>

#include "base/error.h"

namespace orthorank {

bool is_gguf_file(const std::string &path) {
    std::error_code ignored;
    if (!std::filesystem::is_regular_file(path, ignored)) {
        return false;
    }
    std::ifstream file(path, std::ios::binary);
    std::string magic(4, '\0');
    return file.read(magic.data(), 4) && magic == "GGUF";
}

void refuse_gguf_output(const std::string &path) {
    if (is_gguf_file(path)) {
        fail(ErrorKind::usage,
             "{} is there and is a GGUF file, which is not replaced: name another output, or "
             "remove it",
             path);
    }
}

}  // namespace orthorank
