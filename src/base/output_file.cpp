#include "base/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/error.h"

namespace orthorank {

namespace {

[[noreturn]] void fail_path(const std::string &path, const std::string &reason) {
    fail(ErrorKind::file, "{}: cannot be written: {}", path, reason);
}

// What there is at a path before it is written.
struct Place {
    std::string target;     // behind symbolic links
    std::optional<int> fd;  // it names this open descriptor
    bool is_there = false;
    bool is_file = true;  // or becomes one
    mode_t mode = 0;      // of the file that is there
};

Place place_of(const std::string &path) {
    Place place;
    place.target = link_target(path);
    place.fd = descriptor_named(place.target);
    struct stat status {};
    if (place.fd) {
        return place;
    }
    if (::stat(path.c_str(), &status) != 0) {
        if (errno != ENOENT) {
            fail_path(path, errno_text(errno));  // links that lead round in a circle, and the like
        }
        return place;
    }
    if (S_ISDIR(status.st_mode)) {
        fail_path(path, "it is a directory");
    }
    place.is_there = true;
    place.is_file = S_ISREG(status.st_mode);
    place.mode = status.st_mode & 07777;
    return place;
}

// A new file beside the target, whose name is set. With open(2) and not mkstemp(3), so that it has
// the permissions that the user's umask gives, or those of the file that it replaces.
Descriptor create_partial(const std::string &path, const Place &place, std::string &name) {
    static std::atomic<unsigned> counter{0};
    int fd = -1;
    do {
        name = fmt::format("{}.{}-{}.partial", place.target, ::getpid(), counter++);
        fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    } while (fd < 0 && errno == EEXIST);
    if (fd < 0) {
        const int code = errno;
        const std::string folder = std::filesystem::path(name).parent_path().string();
        fail_path(path, code == ENOENT
                            ? fmt::format("no folder {} to write to", folder.empty() ? "." : folder)
                            : errno_text(code));
    }
    if (place.is_there) {
        ::fchmod(fd, place.mode);  // refused on some file systems, and then as the umask says
    }
    return Descriptor(fd);
}

// For a descriptor its copy, with its position; else the device or pipe, in place.
Descriptor open_in_place(const std::string &path, const Place &place) {
    Descriptor file(place.fd ? ::fcntl(*place.fd, F_DUPFD_CLOEXEC, 0)
                             : ::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file.is_open()) {
        fail_path(path, errno_text(errno));
    }
    return file;
}

Descriptor open_output(const std::string &path, std::string &target, std::string &partial) {
    const Place place = place_of(path);
    if (place.fd || !place.is_file) {
        return open_in_place(path, place);
    }
    target = place.target;
    return create_partial(path, place, partial);
}

}  // namespace

OutputFile::OutputFile(const std::string &path)
    : path_(path), file_(open_output(path, target_, partial_)) {}

OutputFile::~OutputFile() {
    if (!partial_.empty()) {
        ::unlink(partial_.c_str());
    }
}

void OutputFile::fail_write(int code) const {
    fail_path(path_, errno_text(code));
}

void OutputFile::write(std::string_view bytes) {
    if (target_.empty()) {
        std::fflush(stdout);  // it may be the same file: what was printed before comes first
    }
    const int code = write_all(file_.fd(), bytes);
    if (code != 0) {
        fail_write(code);
    }
    n_bytes_ += static_cast<int64_t>(bytes.size());
}

const std::string &OutputFile::temporary_name() const {
    if (partial_.empty()) {
        fail_path(path_, "it is no file, and this is written out of order: name a file");
    }
    return partial_;
}

void OutputFile::finish() {
    int code = !partial_.empty() && ::fsync(file_.fd()) != 0 ? errno : 0;
    const int close_code = file_.close_now();
    code = code != 0 ? code : close_code;
    if (code == 0 && !partial_.empty() && ::rename(partial_.c_str(), target_.c_str()) != 0) {
        code = errno;
    }
    if (code != 0) {
        fail_write(code);
    }
    partial_.clear();
}

void check_writable(const std::string &path) {
    const Place place = place_of(path);
    if (place.fd) {
        const int flags = ::fcntl(*place.fd, F_GETFL);
        if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) {
            fail_path(path, "that descriptor is not open for writing");
        }
    } else if (!place.is_file) {
        // Not opened: a pipe would wait for its reader.
        if (::access(path.c_str(), W_OK) != 0) {
            fail_path(path, errno_text(errno));
        }
    } else {
        std::string partial;
        const Descriptor file = create_partial(path, place, partial);
        ::unlink(partial.c_str());
    }
}

bool becomes_file(const std::string &path) {
    const Place place = place_of(path);
    return !place.fd && place.is_file;
}

void write_file_atomically(const std::string &path, std::string_view content) {
    OutputFile file(path);
    file.write(content);
    file.finish();
}

}  // namespace orthorank
