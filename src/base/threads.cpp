#include "base/threads.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace orthorank {

namespace {

namespace fs = std::filesystem;

constexpr double k_no_limit = std::numeric_limits<double>::infinity();

// A mounted hierarchy of control groups that has the cpu controller, or may have it (v2).
struct Hierarchy {
    bool is_v2;
    std::string group_root;  // the group that is seen at the mount point
    std::string mount_point;
};

std::vector<std::string> split(const std::string &text, char separator) {
    std::vector<std::string> parts;
    std::istringstream stream(text);
    for (std::string part; std::getline(stream, part, separator);) {
        parts.push_back(part);
    }
    return parts;
}

bool names_cpu(const std::string &controllers) {
    const std::vector<std::string> names = split(controllers, ',');
    return std::find(names.begin(), names.end(), "cpu") != names.end();
}

// A line of mountinfo: id, parent, device, root, mount point, options, optional fields, "-", type,
// source, options of the file system.
std::vector<Hierarchy> mounted_hierarchies(const std::string &root) {
    std::vector<Hierarchy> hierarchies;
    std::ifstream file(root + "/proc/self/mountinfo");
    for (std::string line; std::getline(file, line);) {
        const std::vector<std::string> fields = split(line, ' ');
        const auto dash = std::find(fields.begin(), fields.end(), "-");
        if (fields.size() < 6 || fields.end() - dash < 4) {
            continue;
        }
        const bool is_v2 = dash[1] == "cgroup2";
        if (is_v2 || (dash[1] == "cgroup" && names_cpu(dash[3]))) {
            hierarchies.push_back({is_v2, fields[3], fields[4]});
        }
    }
    return hierarchies;
}

// This process's group in a hierarchy, out of lines such as "0::/a" (v2) and "4:cpu,cpuacct:/a".
std::string group_of(const std::string &root, bool is_v2) {
    std::ifstream file(root + "/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        const size_t first = line.find(':');
        const size_t second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) {
            continue;
        }
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (is_v2 ? line.starts_with("0::") : names_cpu(controllers)) {
            return line.substr(second + 1);
        }
    }
    return "/";
}

// The limit of one group's folder: "max 100000" or "150000 100000" (v2); -1 is none in v1.
double quota_of(const fs::path &folder, bool is_v2) {
    std::string quota_text;
    double period = 0;
    if (is_v2) {
        std::ifstream(folder / "cpu.max") >> quota_text >> period;
    } else {
        std::ifstream(folder / "cpu.cfs_quota_us") >> quota_text;
        std::ifstream(folder / "cpu.cfs_period_us") >> period;
    }
    double quota = 0;
    std::istringstream(quota_text) >> quota;  // 0 for "max" and for a file that is not there
    return quota > 0 && period > 0 ? quota / period : k_no_limit;
}

int n_processors() {
#ifdef __linux__
    // The mask's size is the kernel's, which may be more than cpu_set_t holds.
    for (int n = CPU_SETSIZE; n <= 64 * CPU_SETSIZE; n *= 2) {
        std::vector<cpu_set_t> mask(static_cast<size_t>(n / CPU_SETSIZE));
        const size_t n_bytes = mask.size() * sizeof(cpu_set_t);
        if (sched_getaffinity(0, n_bytes, mask.data()) == 0) {
            return CPU_COUNT_S(n_bytes, mask.data());
        }
    }
#endif
    return static_cast<int>(std::thread::hardware_concurrency());
}

}  // namespace

double group_quota(const std::string &root) {
    double quota = k_no_limit;
    for (const Hierarchy &hierarchy : mounted_hierarchies(root)) {
        const fs::path mount_point = root + hierarchy.mount_point;
        // A group outside of what is mounted (another namespace) is taken as the mounted one.
        const fs::path group =
            fs::path(group_of(root, hierarchy.is_v2)).lexically_relative(hierarchy.group_root);
        fs::path folder = mount_point;
        quota = std::min(quota, quota_of(folder, hierarchy.is_v2));
        if (group.empty() || *group.begin() == "..") {
            continue;
        }
        for (const fs::path &name : group) {
            folder /= name;
            quota = std::min(quota, quota_of(folder, hierarchy.is_v2));
        }
    }
    return quota;
}

int default_n_threads() {
    static const int n_threads = [] {
        const double n = std::min<double>(n_processors(), std::ceil(group_quota()));
        return std::max(1, static_cast<int>(n));
    }();
    return n_threads;
}

}  // namespace orthorank
