#include "support/real_models.h"

#include <unistd.h>

#include <filesystem>

#include "model/vocab.h"
#include "support/paths.h"

namespace orthorank::test {

namespace fs = std::filesystem;

std::string default_model_as(const std::string &type) {
    if (type == "Q4_1") {
        return default_model_path();
    }
    // A path to another model ($ORTHORANK_MODEL) must not find this one's copies.
    const fs::path model = fs::canonical(default_model_path());
    const fs::path folder = fs::path(ORTHORANK_BINARY_DIR) / "test-models";
    const fs::path path = folder / (model.stem().string() + "." + type + ".gguf");
    if (!fs::exists(path)) {
        fs::create_directories(folder);
        const std::string partial = path.string() + "." + std::to_string(::getpid());
        quantize(model.string(), partial, type);
        fs::rename(partial, path);
    }
    return path.string();
}

std::string wikitext() {
    const std::string path = shared_path("data/wikitext-2-raw/wiki.test.raw");
    return path.empty() ? "" : read_bytes(path);
}

}  // namespace orthorank::test
