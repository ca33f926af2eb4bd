// How many threads to compute with when nobody says.
#pragma once

#include <string>

namespace orthorank {

// The processors that this process may use, asked for once: those of its affinity mask, and no more
// than its control group's quota (see group_quota), rounded up; at least 1. More threads than that
// wait for each other.
int default_n_threads();

// The processors' time that this process's control group, or one above it, grants: 1.5 means 150 ms
// in 100 ms; infinity without a limit. Knows cgroup v2 (cpu.max) and v1 (cpu.cfs_quota_us), mounted
// as /proc/self/mountinfo says. root stands before every path ("" but in tests). Source: the
// kernel's Documentation/admin-guide/cgroup-v2.rst and scheduler/sched-bwc.rst.
double group_quota(const std::string &root = "");

}  // namespace orthorank
