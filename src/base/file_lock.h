// One process at a time for what stands in a file: the second is refused, not kept waiting. The
// lock ends with the process, whatever ends it. Owned by one thread.
#pragma once

#include <string>

#include "base/descriptor.h"

namespace orthorank {

class FileLock {
 public:
    enum class After { keep, remove };

    // Locks the file, which is made if it is not there. `what` is what the message names. Throws
    // Error{file}: "WHAT: in use by another run ..." or that it cannot be made.
    FileLock(const std::string &path, const std::string &what, After after);
    // Removes the file if it is there for the lock alone.
    ~FileLock();
    FileLock(FileLock &&) = default;
    FileLock &operator=(FileLock &&) = delete;

 private:
    std::string path_;
    After after_;
    Descriptor file_;
};

}  // namespace orthorank
