#include "model/file_bytes.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"

namespace orthorank {

FileBytes::FileBytes(const std::string &path, bool use_mmap) : path_(path) {
    fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) {
        fail(ErrorKind::file, "cannot open {}: {}", path, std::strerror(errno));
    }
    struct stat status {};
    const bool is_known = ::fstat(fd_, &status) == 0;
    size_ = is_known ? static_cast<int64_t>(status.st_size) : 0;
    if (is_known && size_ > 0 && use_mmap) {
        void *map = ::mmap(nullptr, static_cast<size_t>(size_), PROT_READ, MAP_SHARED, fd_, 0);
        if (map != MAP_FAILED) {
            map_ = static_cast<std::byte *>(map);
            ::posix_madvise(map, static_cast<size_t>(size_), POSIX_MADV_WILLNEED);
            return;
        }
    }
    if (!is_known || (use_mmap && size_ > 0)) {
        const int reason = errno;
        ::close(fd_);
        fail(ErrorKind::file, "cannot {} {}: {}", is_known ? "map" : "read", path,
             std::strerror(reason));
    }
}

FileBytes::~FileBytes() {
    if (map_ != nullptr) {
        ::munmap(map_, static_cast<size_t>(size_));
    }
    ::close(fd_);
}

std::span<const std::byte> FileBytes::bytes(int64_t offset, int64_t n,
                                            std::vector<std::byte> &scratch) const {
    CHECK(offset >= 0 && n >= 0 && offset <= size_ - n);
    if (map_ != nullptr) {
        return {map_ + offset, static_cast<size_t>(n)};
    }
    scratch.resize(static_cast<size_t>(n));
    size_t done = 0;
    while (done < scratch.size()) {
        const ssize_t got = ::pread(fd_, scratch.data() + done, scratch.size() - done,
                                    static_cast<off_t>(offset) + static_cast<off_t>(done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            fail(ErrorKind::file, "cannot read {} at byte {}: {}", path_,
                 offset + static_cast<int64_t>(done),
                 got < 0 ? std::strerror(errno) : "the file became shorter");
        }
        done += static_cast<size_t>(got);
    }
    return scratch;
}

void FileBytes::drop(int64_t offset, int64_t n) const {
    if (map_ == nullptr) {
        return;
    }
    const auto page = static_cast<int64_t>(::sysconf(_SC_PAGESIZE));
    const int64_t first = (offset + page - 1) / page * page;
    const int64_t last = (offset + n) / page * page;
    if (first < last) {
        // Not posix_madvise: glibc makes POSIX_MADV_DONTNEED do nothing. A hint: failure is fine.
        ::madvise(map_ + first, static_cast<size_t>(last - first), MADV_DONTNEED);
    }
}

}  // namespace orthorank
