// Descriptors of the operating system, and paths that name one that is open already. Used by one
// thread each.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace orthorank {

// Owns a file descriptor.
class Descriptor {
 public:
    explicit Descriptor(int fd) : fd_(fd) {}
    ~Descriptor() { close_now(); }
    Descriptor(Descriptor &&other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
    Descriptor &operator=(Descriptor &&) = delete;

    int fd() const { return fd_; }
    bool is_open() const { return fd_ >= 0; }
    // 0, or the errno of a failed close (a full disk may only show here).
    int close_now();

 private:
    int fd_;
};

// The text of an errno value; std::strerror is not thread-safe.
std::string errno_text(int code);

// The descriptor that a path names: /dev/stdin, /dev/stdout, /dev/stderr, /dev/fd/N,
// /proc/self/fd/N. Opening such a path makes another description of the file: it starts at its
// first byte, or cuts what was written, and of a socket it cannot be made.
std::optional<int> descriptor_named(const std::string &path);

// Where the symbolic link at the path's end leads, link by link: the first that is no link, does
// not exist, or names a descriptor. The path itself when it is no link, or leads round in a circle.
std::string link_target(const std::string &path);

// Writes all of it. 0 or an errno value.
int write_all(int fd, std::string_view bytes);

}  // namespace orthorank
