#include "support/paths.h"

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace orthorank::test {

namespace fs = std::filesystem;

std::string default_model_path() {
    const char *given = std::getenv("ORTHORANK_MODEL");
    return given != nullptr ? given : ORTHORANK_SOURCE_DIR "/.deps/model.gguf";
}

bool has_default_model() {
    return fs::exists(default_model_path());
}

std::string shared_path(const std::string &name) {
    const fs::path source = ORTHORANK_SOURCE_DIR;
    const char *given = std::getenv("ORTHORANK_SHARED");
    const fs::path folders[] = {given != nullptr ? fs::path(given) : source / "shared",
                                source / "shared", source.parent_path() / "shared"};
    for (const fs::path &folder : folders) {
        if (fs::exists(folder / name)) {
            return (folder / name).string();
        }
    }
    return "";
}

TempDir::TempDir() {
    std::string name = (fs::temp_directory_path() / "orthorank-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) {
        throw std::runtime_error("cannot make a temporary directory: " + name);
    }
    path_ = name;
}

TempDir::~TempDir() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
}

std::string read_bytes(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string &path, const std::string &bytes) {
    std::ofstream file(path, std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!file.flush()) {
        throw std::runtime_error("cannot write " + path);
    }
}

}  // namespace orthorank::test
