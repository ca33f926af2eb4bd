#include "base/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/error.h"

namespace orthorank {

namespace {

// Whether the path still leads to what was opened: its last owner may have removed it meanwhile.
bool is_at(const std::string &path, int fd) {
    struct stat of_path {};
    struct stat of_file {};
    return ::stat(path.c_str(), &of_path) == 0 && ::fstat(fd, &of_file) == 0 &&
           of_path.st_dev == of_file.st_dev && of_path.st_ino == of_file.st_ino;
}

Descriptor lock(const std::string &path, const std::string &what) {
    while (true) {
        Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
        if (!file.is_open()) {
            fail(ErrorKind::file, "{}: cannot be written: {}", path, errno_text(errno));
        }
        int result = 0;
        do {
            result = ::flock(file.fd(), LOCK_EX | LOCK_NB);
        } while (result != 0 && errno == EINTR);
        if (result != 0 && errno == EWOULDBLOCK) {
            fail(ErrorKind::file,
                 "{}: in use by another run: wait until it has ended, or name another file", what);
        }
        // A file system without locks (ENOLCK and the like) has none to keep.
        if (result != 0 || is_at(path, file.fd())) {
            return file;
        }
    }
}

}  // namespace

FileLock::FileLock(const std::string &path, const std::string &what, After after)
    : path_(path), after_(after), file_(lock(path, what)) {}

FileLock::~FileLock() {
    if (file_.is_open() && after_ == After::remove) {
        ::unlink(path_.c_str());
    }
}

}  // namespace orthorank
