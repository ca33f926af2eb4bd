#include "base/descriptor.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

namespace orthorank {

namespace {

namespace fs = std::filesystem;

constexpr int k_max_links = 40;  // as many as Linux follows

}  // namespace

int Descriptor::close_now() {
    const int result = fd_ >= 0 && ::close(fd_) != 0 ? errno : 0;
    fd_ = -1;
    return result;
}

std::string errno_text(int code) {
    return std::generic_category().message(code);
}

std::optional<int> descriptor_named(const std::string &path) {
    const std::string name = fs::path(path).lexically_normal().string();
    constexpr std::array<std::string_view, 3> k_standard = {"/dev/stdin", "/dev/stdout",
                                                            "/dev/stderr"};
    for (size_t fd = 0; fd < k_standard.size(); ++fd) {
        if (name == k_standard[fd]) {
            return static_cast<int>(fd);
        }
    }
    const std::string of_process = "/proc/" + std::to_string(::getpid()) + "/fd/";
    for (const std::string &folder : {std::string("/dev/fd/"), std::string("/proc/self/fd/"),
                                      std::string("/proc/thread-self/fd/"), of_process}) {
        if (!name.starts_with(folder)) {
            continue;
        }
        int fd = -1;
        const char *end = name.data() + name.size();
        const auto read = std::from_chars(name.data() + folder.size(), end, fd);
        if (read.ec == std::errc() && read.ptr == end && fd >= 0) {
            return fd;
        }
    }
    return {};
}

std::string link_target(const std::string &path) {
    fs::path at(path);
    for (int n = 0; n < k_max_links; ++n) {
        std::error_code error;
        const fs::path target = fs::read_symlink(at, error);
        if (error || descriptor_named(at.string())) {
            return at.string();
        }
        at = target.is_absolute() ? target : at.parent_path() / target;
    }
    return path;
}

int write_all(int fd, std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    return 0;
}

}  // namespace orthorank
