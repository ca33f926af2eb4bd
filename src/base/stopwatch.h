// Time passed since construction or restart, on the monotonic clock. Plain value; not shared
// between threads while it is restarted.
#pragma once

#include <chrono>

namespace orthorank {

class Stopwatch {
 public:
    void restart() { start_ = Clock::now(); }
    double elapsed_s() const {
        return std::chrono::duration<double>(Clock::now() - start_).count();
    }
    double elapsed_ms() const { return 1e3 * elapsed_s(); }

 private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point start_ = Clock::now();
};

}  // namespace orthorank
