#include "calibration/draws.h"

#include <numeric>
#include <utility>

#include "base/error.h"

namespace orthorank {

namespace {

// ISO C++ has no 128-bit integers; GCC and clang do.
__extension__ using Wide = unsigned __int128;

constexpr Wide wide(uint64_t high, uint64_t low) {
    return (static_cast<Wide>(high) << 64) | low;
}

constexpr uint32_t k_shift = 16;

// NumPy's SeedSequence: a few words of entropy become as many as wanted (M. O'Neill's seed_seq_fe).
class SeedSequence {
 public:
    explicit SeedSequence(uint32_t entropy) {
        uint32_t factor = 0x43b0d7e5;
        for (size_t i = 0; i < pool_.size(); ++i) {
            pool_[i] = hashed(i == 0 ? entropy : 0, factor);
        }
        for (size_t from = 0; from < pool_.size(); ++from) {
            for (size_t to = 0; to < pool_.size(); ++to) {
                if (from != to) {
                    pool_[to] = mixed(pool_[to], hashed(pool_[from], factor));
                }
            }
        }
    }

    std::array<uint64_t, 4> words() const {
        std::array<uint64_t, 4> words{};
        uint32_t factor = 0x8b51f9dd;
        for (size_t i = 0; i < 2 * words.size(); ++i) {
            uint32_t value = pool_[i % pool_.size()] ^ factor;
            factor *= 0x58f38ded;
            value *= factor;
            value ^= value >> k_shift;
            words[i / 2] |= static_cast<uint64_t>(value) << (i % 2 * 32);
        }
        return words;
    }

 private:
    static uint32_t hashed(uint32_t value, uint32_t &factor) {
        value ^= factor;
        factor *= 0x931e8875;
        value *= factor;
        return value ^ (value >> k_shift);
    }
    static uint32_t mixed(uint32_t x, uint32_t y) {
        const uint32_t value = 0xca01f9dd * x - 0x4973f715 * y;
        return value ^ (value >> k_shift);
    }

    std::array<uint32_t, 4> pool_{};
};

// PCG64 (XSL-RR 128/64) with NumPy's halving of its output into 32-bit draws, lower half first.
class Pcg64 {
 public:
    explicit Pcg64(uint32_t seed) {
        const std::array<uint64_t, 4> words = SeedSequence(seed).words();
        increment_ = (wide(words[2], words[3]) << 1) | 1;
        state_ = increment_ + wide(words[0], words[1]);
        step();
    }

    uint32_t next_32() {
        if (has_half_) {
            has_half_ = false;
            return half_;
        }
        const uint64_t value = next_64();
        has_half_ = true;
        half_ = static_cast<uint32_t>(value >> 32);
        return static_cast<uint32_t>(value);
    }

    // A uniform draw from 0..max: as many bits as max has, drawn again until they are not above it.
    uint32_t bounded(uint32_t max) {
        uint32_t mask = max;
        for (uint32_t shift = 1; shift < 32; shift *= 2) {
            mask |= mask >> shift;
        }
        uint32_t value = 0;
        do {
            value = next_32() & mask;
        } while (value > max);
        return value;
    }

 private:
    void step() {
        state_ = state_ * wide(2549297995355413924ULL, 4865540595714422341ULL) + increment_;
    }
    uint64_t next_64() {
        step();
        const auto folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
        const auto turn = static_cast<unsigned>(state_ >> 122);
        return (folded >> turn) | (folded << ((64 - turn) & 63));
    }

    Wide state_ = 0;
    Wide increment_ = 0;
    bool has_half_ = false;
    uint32_t half_ = 0;
};

}  // namespace

std::vector<int64_t> numpy_permutation(uint32_t seed, int64_t n) {
    CHECK(0 <= n && n < int64_t{UINT32_MAX});
    std::vector<int64_t> order(static_cast<size_t>(n));
    std::iota(order.begin(), order.end(), int64_t{0});
    Pcg64 random(seed);
    for (size_t i = order.size(); i-- > 1;) {
        std::swap(order[i], order[random.bounded(static_cast<uint32_t>(i))]);
    }
    return order;
}

// init_by_array of the MT19937 authors, with a key of one word as CPython makes it of a small seed.
PythonRandom::PythonRandom(uint32_t seed) {
    state_[0] = 19650218;
    for (uint32_t i = 1; i < k_n; ++i) {
        state_[i] = 1812433253 * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
    }
    size_t i = 1;
    const auto advance = [&] {
        if (++i == k_n) {
            state_[0] = state_[k_n - 1];
            i = 1;
        }
    };
    const auto previous = [&] { return state_[i - 1] ^ (state_[i - 1] >> 30); };
    for (size_t k = 0; k < k_n; ++k) {
        state_[i] = (state_[i] ^ (previous() * 1664525)) + seed;
        advance();
    }
    for (size_t k = 0; k + 1 < k_n; ++k) {
        state_[i] = (state_[i] ^ (previous() * 1566083941)) - static_cast<uint32_t>(i);
        advance();
    }
    state_[0] = 0x80000000;
}

void PythonRandom::refill() {
    for (size_t i = 0; i < k_n; ++i) {
        const uint32_t y = (state_[i] & 0x80000000) | (state_[(i + 1) % k_n] & 0x7fffffff);
        state_[i] = state_[(i + 397) % k_n] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0df : 0);
    }
    index_ = 0;
}

uint32_t PythonRandom::next() {
    if (index_ == k_n) {
        refill();
    }
    uint32_t y = state_[index_++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return y ^ (y >> 18);
}

// CPython's _randbelow: as many bits as the bound has, drawn again until they are below it.
int64_t PythonRandom::randint(int64_t low, int64_t high) {
    CHECK(low <= high && high - low < int64_t{UINT32_MAX});
    const auto n = static_cast<uint32_t>(high - low + 1);
    int n_bits = 0;
    while (n_bits < 32 && (n >> n_bits) != 0) {
        ++n_bits;
    }
    uint32_t value = 0;
    do {
        value = next() >> (32 - n_bits);
    } while (value >= n);
    return low + value;
}

}  // namespace orthorank
