#include "cli/environment.h"

#include <cstdlib>

namespace orthorank {

namespace {

// Empty where it is not set.
std::string variable(const char *name) {
    const char *value = std::getenv(name);
    return value != nullptr ? value : "";
}

}  // namespace

std::string default_model_path() {
    const std::string given = variable("ORTHORANK_MODEL");
    return given.empty() ? ORTHORANK_DEFAULT_MODEL : given;
}

std::string shipped_plans_dir() {
    const std::string given = variable("ORTHORANK_PLANS_DIR");
    return given.empty() ? ORTHORANK_PLANS_DIR : given;
}

bool is_dumb_terminal() {
    return variable("TERM") == "dumb";
}

std::string weight_cache_path() {
    const std::string cache = variable("XDG_CACHE_HOME");
    const std::string home = variable("HOME");
    return !cache.empty()  ? cache + "/orthorank/weights.json"
           : !home.empty() ? home + "/.cache/orthorank/weights.json"
                           : "";
}

}  // namespace orthorank
