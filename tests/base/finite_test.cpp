#include "base/finite.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace orthorank {
namespace {

TEST(Finite, OneNumberThatIsNoneIsFoundWhereverItStands) {
    const float infinity = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const float largest = std::numeric_limits<float>::max();
    for (const float bad : {infinity, -infinity, nan, -nan}) {
        for (size_t n : {1, 7, 16, 33, 1000}) {
            std::vector<float> values(n, -largest);
            values.front() = std::numeric_limits<float>::denorm_min();
            EXPECT_TRUE(all_finite(values));
            for (size_t i : {size_t{0}, n / 2, n - 1}) {
                const float kept = values[i];
                values[i] = bad;
                EXPECT_FALSE(all_finite(values)) << bad << " at " << i << " of " << n;
                values[i] = kept;
            }
        }
    }
    EXPECT_TRUE(all_finite({}));
}

TEST(Finite, HalfFloats) {
    std::vector<uint16_t> bits(100, 0xfbff);  // -65504
    EXPECT_TRUE(all_finite_f16(bits));
    for (const int bad : {0x7c00, 0xfc00, 0x7c01, 0xffff}) {
        bits[63] = static_cast<uint16_t>(bad);
        EXPECT_FALSE(all_finite_f16(bits)) << bad;
        bits[63] = 0x7bff;
        EXPECT_TRUE(all_finite_f16(bits));
    }
}

}  // namespace
}  // namespace orthorank
