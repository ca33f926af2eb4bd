// The random draws that published calibration sets were made with, reproduced to the number:
// NumPy's default_rng(seed).permutation(n) (what `datasets` shuffles rows with) and Python's
// random.seed(n), random.randint. Plain values, no state outside; one thread at a time.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace orthorank {

// numpy.random.default_rng(seed).permutation(n): SeedSequence, PCG64, Fisher-Yates.
std::vector<int64_t> numpy_permutation(uint32_t seed, int64_t n);

// Python's `random` after random.seed(seed): MT19937 seeded by init_by_array.
class PythonRandom {
 public:
    explicit PythonRandom(uint32_t seed);

    // random.randint(low, high), both included; high - low < 2^32.
    int64_t randint(int64_t low, int64_t high);

 private:
    static constexpr size_t k_n = 624;
    uint32_t next();
    void refill();

    std::array<uint32_t, k_n> state_{};
    size_t index_ = k_n;
};

}  // namespace orthorank
