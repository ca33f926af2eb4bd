#include "calibration/hidden_store.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/error.h"

namespace orthorank {

HiddenStore::HiddenStore(size_t n_slots, size_t n_floats, int64_t budget_bytes)
    : n_slots_(n_slots), n_floats_(n_floats) {
    const auto block_bytes = static_cast<int64_t>(n_floats * sizeof(float));
    const int64_t n_affordable =
        std::max<int64_t>(0, budget_bytes) / std::max<int64_t>(1, block_bytes);
    in_memory_.resize(std::min(n_slots, static_cast<size_t>(n_affordable)));
}

// Removed from its folder at once: the system frees it when it is closed, whatever happens.
void HiddenStore::open_file() {
    std::error_code error;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(error);
    if (error) {
        fail(ErrorKind::file, "no folder for temporary files (TMPDIR): {}", error.message());
    }
    std::string path = (folder / "orthorank-hidden-XXXXXX").string();
    const int fd = mkstemp(path.data());
    if (fd < 0) {
        fail(ErrorKind::file, "{} cannot be made: {}", path, std::strerror(errno));
    }
    unlink(path.c_str());
    file_.reset(fdopen(fd, "w+b"));
    CHECK(file_ != nullptr);
}

void HiddenStore::seek(size_t slot) const {
    const auto offset = static_cast<off_t>((slot - in_memory_.size()) * n_floats_ * sizeof(float));
    if (fseeko(file_.get(), offset, SEEK_SET) != 0) {
        fail(ErrorKind::file, "the temporary file of hidden states: {}", std::strerror(errno));
    }
}

void HiddenStore::write(size_t slot, std::span<const float> block) {
    CHECK(slot < n_slots_ && block.size() == n_floats_);
    if (slot < in_memory_.size()) {
        in_memory_[slot].assign(block.begin(), block.end());
        return;
    }
    if (file_ == nullptr) {
        open_file();
    }
    seek(slot);
    if (std::fwrite(block.data(), sizeof(float), block.size(), file_.get()) != block.size() ||
        std::fflush(file_.get()) != 0) {
        fail(ErrorKind::file,
             "the temporary file of hidden states cannot be written: {} (TMPDIR says where it "
             "is, a larger --memory makes it smaller)",
             std::strerror(errno));
    }
}

std::span<const float> HiddenStore::read(size_t slot, std::vector<float> &scratch) const {
    CHECK(slot < n_slots_);
    if (slot < in_memory_.size()) {
        CHECK(in_memory_[slot].size() == n_floats_);  // written before
        return in_memory_[slot];
    }
    CHECK(file_ != nullptr);
    scratch.resize(n_floats_);
    seek(slot);
    if (std::fread(scratch.data(), sizeof(float), n_floats_, file_.get()) != n_floats_) {
        fail(ErrorKind::file, "the temporary file of hidden states cannot be read back");
    }
    return scratch;
}

}  // namespace orthorank
