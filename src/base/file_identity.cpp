#include "base/file_identity.h"

#include <sys/stat.h>

#include <filesystem>

#include "base/descriptor.h"

namespace orthorank {

std::optional<FileIdentity> file_identity(const std::string &path) {
    const std::string target = link_target(path);
    const std::optional<int> fd = descriptor_named(target);
    struct stat status {};
    if ((fd ? ::fstat(*fd, &status) : ::stat(target.c_str(), &status)) == 0) {
        if (S_ISREG(status.st_mode) || S_ISFIFO(status.st_mode)) {
            return FileIdentity{status.st_dev, status.st_ino, ""};
        }
        return {};
    }
    const std::filesystem::path file(target);
    const std::string folder = file.has_parent_path() ? file.parent_path().string() : ".";
    if (fd || ::stat(folder.c_str(), &status) != 0) {
        return {};
    }
    return FileIdentity{status.st_dev, status.st_ino, file.filename().string()};
}

}  // namespace orthorank
