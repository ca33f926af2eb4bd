#include "base/text_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <system_error>

#include "base/error.h"

namespace orthorank {
namespace {

// The text of an errno value; std::strerror is not thread-safe.
std::string errno_text(int code) {
    return std::generic_category().message(code);
}

// A file descriptor that closes itself.
class Descriptor {
 public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() { close_now(); }
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;

    int fd() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    // 0, or the errno of a failed close (a full disk may only show here).
    int close_now() {
        const int result = fd_ >= 0 && ::close(fd_) != 0 ? errno : 0;
        fd_ = -1;
        return result;
    }

 private:
    int fd_;
};

// Writes all of content. 0 or an errno value.
int write_all(int fd, std::string_view content) {
    while (!content.empty()) {
        const ssize_t n = ::write(fd, content.data(), content.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return errno;
        }
        content.remove_prefix(static_cast<size_t>(n));
    }
    return 0;
}

[[noreturn]] void fail_write(const std::string &path, int code) {
    fail(ErrorKind::file, "{}: cannot be written: {}", path, errno_text(code));
}

void write_in_place(const std::string &path, std::string_view content) {
    Descriptor file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (!file.is_open()) {
        fail_write(path, errno);
    }
    int code = write_all(file.fd(), content);
    const int close_code = file.close_now();
    code = code != 0 ? code : close_code;
    if (code != 0) {
        fail_write(path, code);
    }
}

// Creates a new file beside path and sets `name`; with open(2) and not mkstemp(3) so that the
// file has the permissions that the user's umask gives. -1 with errno if it cannot be made.
int create_partial(const std::string &path, std::string &name) {
    static std::atomic<unsigned> counter{0};
    int fd = -1;
    do {
        name = fmt::format("{}.{}-{}.partial", path, ::getpid(), counter++);
        fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EEXIST);
    return fd;
}

}  // namespace

std::string read_text_file(const std::string &path, uint64_t max_bytes) {
    Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!file.is_open()) {
        fail(ErrorKind::file, "{}: cannot be read: {}", path, errno_text(errno));
    }
    std::string content;
    std::array<char, 65536> buffer;
    while (true) {
        const ssize_t n = ::read(file.fd(), buffer.data(), buffer.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {  // a directory ends here, with its own text
            fail(ErrorKind::file, "{}: cannot be read: {}", path, errno_text(errno));
        }
        if (n == 0) {
            return content;
        }
        content.append(buffer.data(), static_cast<size_t>(n));
        if (content.size() > max_bytes) {
            fail(ErrorKind::file, "{}: is larger than {} bytes, the most that is read here", path,
                 max_bytes);
        }
    }
}

void write_file_atomically(const std::string &path, std::string_view content) {
    struct stat status;
    if (::lstat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
        write_in_place(path, content);
        return;
    }
    std::string partial;
    Descriptor file(create_partial(path, partial));
    if (!file.is_open()) {
        fail_write(path, errno);
    }
    int code = write_all(file.fd(), content);
    if (code == 0 && ::fsync(file.fd()) != 0) {
        code = errno;
    }
    const int close_code = file.close_now();
    code = code != 0 ? code : close_code;
    if (code == 0 && ::rename(partial.c_str(), path.c_str()) != 0) {
        code = errno;
    }
    if (code != 0) {
        ::unlink(partial.c_str());
        fail_write(path, code);
    }
}

}  // namespace orthorank
