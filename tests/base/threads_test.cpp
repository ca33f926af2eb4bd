#include "base/threads.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <limits>

#include "support/temp_dir_test.h"

namespace orthorank {
namespace {

namespace fs = std::filesystem;

constexpr double k_no_limit = std::numeric_limits<double>::infinity();
const char *const k_v2_mount =
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";

// A tree of /proc and control groups under a folder of its own.
class GroupQuota : public test::TempDirTest {
 protected:
    void write(const std::string &path, const std::string &text) {
        fs::create_directories(fs::path(dir_.file(path)).parent_path());
        test::write_bytes(dir_.file(path), text);
    }
    void mount(const std::string &mounts, const std::string &groups) {
        write("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/root rw\n" + mounts);
        write("proc/self/cgroup", groups);
    }
    double quota() const { return group_quota(dir_.path().string()); }
};

TEST_F(GroupQuota, IsUnlimitedWithoutControlGroups) {
    EXPECT_EQ(quota(), k_no_limit);
    mount("", "");
    EXPECT_EQ(quota(), k_no_limit);
}

TEST_F(GroupQuota, ReadsCpuMaxOfAContainer) {
    mount(k_v2_mount, "0::/\n");
    EXPECT_EQ(quota(), k_no_limit);
    write("sys/fs/cgroup/cpu.max", "max 100000\n");
    EXPECT_EQ(quota(), k_no_limit);
    write("sys/fs/cgroup/cpu.max", "150000 100000\n");
    EXPECT_DOUBLE_EQ(quota(), 1.5);
}

TEST_F(GroupQuota, IsTheSmallestFromTheOwnGroupToTheTop) {
    mount(k_v2_mount, "0::/machine/unit\n");
    write("sys/fs/cgroup/machine/cpu.max", "50000 100000\n");
    write("sys/fs/cgroup/machine/unit/cpu.max", "400000 100000\n");
    write("sys/fs/cgroup/other/cpu.max", "1000 100000\n");
    EXPECT_DOUBLE_EQ(quota(), 0.5);
    write("sys/fs/cgroup/machine/cpu.max", "max 100000\n");
    EXPECT_DOUBLE_EQ(quota(), 4);
}

TEST_F(GroupQuota, ReadsVersion1WhereItIsMounted) {
    mount(
        "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 31 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n",
        "4:cpuset:/b\n3:cpu,cpuacct:/a\n");
    write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "-1\n");
    write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "50000\n");
    write("sys/fs/cgroup/cpu,cpuacct/b/cpu.cfs_quota_us", "1000\n");
    write("sys/fs/cgroup/cpu,cpuacct/b/cpu.cfs_period_us", "50000\n");
    EXPECT_EQ(quota(), k_no_limit);
    write("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "100000\n");
    EXPECT_DOUBLE_EQ(quota(), 2);
}

// Docker with version 1: the container's own group is mounted, and named from the host's root.
TEST_F(GroupQuota, FindsTheGroupBelowTheMountedRoot) {
    mount("32 31 0:29 /docker/f00 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
          "3:cpu:/docker/f00/inner\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "300000\n");
    write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    EXPECT_DOUBLE_EQ(quota(), 3);
    write("sys/fs/cgroup/cpu/inner/cpu.cfs_quota_us", "100000\n");
    write("sys/fs/cgroup/cpu/inner/cpu.cfs_period_us", "100000\n");
    EXPECT_DOUBLE_EQ(quota(), 1);
    mount("32 31 0:29 /docker/f00 /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu\n",
          "3:cpu:/elsewhere\n");
    EXPECT_DOUBLE_EQ(quota(), 3);
}

TEST(DefaultThreads, FollowTheAffinityMask) {
    // In a child: the number is asked for once a process.
    const pid_t child = fork();
    ASSERT_NE(child, -1);
    if (child == 0) {
        cpu_set_t allowed;
        cpu_set_t first;
        CPU_ZERO(&first);
        if (sched_getaffinity(0, sizeof(allowed), &allowed) != 0) {
            _exit(100);
        }
        for (int cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&first) == 0; ++cpu) {
            if (CPU_ISSET(cpu, &allowed)) {
                CPU_SET(cpu, &first);
            }
        }
        _exit(sched_setaffinity(0, sizeof(first), &first) == 0 ? default_n_threads() : 100);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_EQ(WEXITSTATUS(status), 1);
}

TEST(DefaultThreads, AreAtLeastOneAndWithinTheQuota) {
    EXPECT_GE(default_n_threads(), 1);
    EXPECT_LE(default_n_threads(), std::ceil(group_quota()));
}

}  // namespace
}  // namespace orthorank
