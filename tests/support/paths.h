// Where tests find files, and a place to write some.
#pragma once

#include <filesystem>
#include <string>

namespace orthorank::test {

// The real model: $ORTHORANK_MODEL, or .deps/model.gguf in the source tree. Check
// has_default_model() first and skip with its reason.
std::string default_model_path();
bool has_default_model();

// A file that lies beside the checkout for tests on real data, "data/..." in shared/ next to or
// above the source tree ($ORTHORANK_SHARED overrides). Empty when there is none.
std::string shared_path(const std::string &name);

// A directory of its own that goes away with this object.
class TempDir {
 public:
    TempDir();
    ~TempDir();
    TempDir(const TempDir &) = delete;
    TempDir &operator=(const TempDir &) = delete;

    // The path of a file in it.
    std::string file(const std::string &name) const { return (path_ / name).string(); }
    const std::filesystem::path &path() const { return path_; }

 private:
    std::filesystem::path path_;
};

std::string read_bytes(const std::string &path);
void write_bytes(const std::string &path, const std::string &bytes);

}  // namespace orthorank::test
