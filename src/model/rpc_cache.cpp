#include "model/rpc_cache.h"

#include <filesystem>
#include <fstream>
#include <vector>

#include "base/console.h"
#include "base/error.h"
#include "base/fnv1a.h"
#include "base/output_file.h"

namespace orthorank {

namespace {

namespace fs = std::filesystem;

constexpr size_t k_block_bytes = 1 << 20;

void make_folder(const std::string &path) {
    std::error_code error;
    fs::create_directory(path, error);
    std::error_code is_missing;
    if (!fs::is_directory(path, is_missing)) {
        fail(ErrorKind::file, "--cache {}: the folder cannot be made: {}", path,
             error ? error.message() : "something else has this name");
    }
}

bool is_hash(const std::string &name) {
    return name.size() == 16 && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::string hash_of(const fs::path &path) {
    std::ifstream file(path, std::ios::binary);
    std::vector<char> block(k_block_bytes);
    Fnv1a fnv;
    while (file.read(block.data(), static_cast<std::streamsize>(block.size())) ||
           file.gcount() > 0) {
        fnv.bytes(block.data(), static_cast<size_t>(file.gcount()));
    }
    return fnv.hex();
}

}  // namespace

void prepare_rpc_cache(const std::string &path) {
    make_folder(path);
    const fs::path stamp = fs::path(path) / "checked";
    std::error_code is_first;
    const fs::file_time_type last = fs::last_write_time(stamp, is_first);
    std::error_code error;
    for (const fs::directory_entry &entry : fs::directory_iterator(path, error)) {
        std::error_code is_gone;
        const bool is_known = !is_first && entry.last_write_time(is_gone) < last;
        const std::string name = entry.path().filename().string();
        if (is_hash(name) && entry.is_regular_file(is_gone) && !is_known &&
            hash_of(entry.path()) != name) {
            remark("note: {} is not what its name says, and is removed", entry.path().string());
            fs::remove(entry.path(), error);
        }
    }
    if (error) {
        fail(ErrorKind::file, "--cache {}: {}", path, error.message());
    }
    write_file_atomically(stamp.string(), "");  // throws where nothing can be kept
}

}  // namespace orthorank
