#include "base/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/descriptor.h"
#include "base/error.h"

namespace orthorank {

std::string read_text_file(const std::string &path, uint64_t max_bytes) {
    const std::optional<int> named = descriptor_named(link_target(path));
    const Descriptor file(named ? ::fcntl(*named, F_DUPFD_CLOEXEC, 0)
                                : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
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

}  // namespace orthorank
