#include "base/threads.h"

#include <algorithm>
#include <thread>

namespace orthorank {

int default_n_threads() {
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

}  // namespace orthorank
