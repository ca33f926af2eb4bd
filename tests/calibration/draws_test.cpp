// Against NumPy 1.24 and Python 3.11.
#include "calibration/draws.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace orthorank {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;

std::vector<int64_t> head(std::vector<int64_t> values, size_t n) {
    values.resize(std::min(n, values.size()));
    return values;
}

TEST(NumpyPermutation, SmallOnes) {
    EXPECT_THAT(numpy_permutation(0, 0), ElementsAre());
    EXPECT_THAT(numpy_permutation(0, 1), ElementsAre(0));
    EXPECT_THAT(numpy_permutation(0, 2), ElementsAre(0, 1));
    EXPECT_THAT(numpy_permutation(0, 10), ElementsAre(4, 6, 2, 7, 3, 5, 9, 0, 8, 1));
    EXPECT_THAT(head(numpy_permutation(7, 2119), 8),
                ElementsAre(1157, 2058, 566, 25, 741, 1645, 539, 380));
}

// The rows that SLEB calibrates on: WikiText-2's train split has 36718.
TEST(NumpyPermutation, SlebRows) {
    const std::vector<int64_t> expected = {
        12206, 11400, 33293, 29998, 14360, 25366, 172,   6978,  14708, 8953,  31805, 12023, 9252,
        22342, 26644, 26518, 5178,  14288, 35144, 407,   6488,  16860, 22070, 36164, 24217, 34553,
        32483, 22575, 30597, 643,   34294, 34128, 2680,  27275, 32188, 32356, 15402, 33660, 18107,
        24169, 1148,  19656, 20806, 5757,  16175, 11139, 29207, 11509, 34481, 25481, 11603, 6934,
        658,   7036,  2050,  7742,  11442, 35212, 34217, 8968,  11403, 18391, 33984, 15442, 15552,
        29260, 31349, 4226,  21255, 11035, 22875, 15103, 10522, 1344,  8887,  11515, 1005,  9582,
        10968, 15515, 1666,  2178,  7600,  12506, 14405, 3486,  33406, 14034, 25991, 6929,  28342,
        21496, 36234, 21787, 34414, 32959, 7533,  21803, 18511, 18236, 27775, 13744, 36365, 1192,
        5620,  20540, 14434, 21026, 6209,  36555, 27079, 3337,  7671,  32335, 5739,  20566, 23237,
        28881, 31332, 24627, 23867, 29873, 33538, 29747, 22881, 4792,  34179, 24800};
    std::vector<int64_t> order = numpy_permutation(0, 36718);
    EXPECT_THAT(head(order, 128), ElementsAreArray(expected));
    std::sort(order.begin(), order.end());
    for (size_t i = 0; i < order.size(); ++i) {
        ASSERT_EQ(order[i], static_cast<int64_t>(i));
    }
}

TEST(PythonRandom, Randint) {
    PythonRandom random(1234);
    std::vector<int64_t> values;
    for (int i = 0; i < 12; ++i) {
        values.push_back(random.randint(0, 99));
    }
    EXPECT_THAT(values, ElementsAre(99, 56, 14, 0, 11, 74, 4, 85, 88, 10, 12, 98));
    values.clear();
    for (int i = 0; i < 6; ++i) {
        values.push_back(random.randint(0, 74004227));  // BookCorpus has so many rows
    }
    EXPECT_THAT(values, ElementsAre(47598385, 31784070, 2339153, 4135787, 2126065, 46451274));
    EXPECT_EQ(random.randint(5, 5), 5);
    EXPECT_EQ(random.randint(5, 5), 5);
    values.clear();
    for (int i = 0; i < 4; ++i) {
        values.push_back(random.randint(0, 255));
    }
    EXPECT_THAT(values, ElementsAre(76, 46, 93, 58));
}

TEST(PythonRandom, StateIsRefilled) {
    PythonRandom random(1234);
    int64_t sum = 0;
    std::vector<int64_t> values;
    for (int i = 0; i < 1000; ++i) {
        values.push_back(random.randint(0, 6));
        sum += values.back();
    }
    EXPECT_EQ(sum, 3071);
    values.erase(values.begin(), values.end() - 6);
    EXPECT_THAT(values, ElementsAre(4, 1, 5, 6, 0, 5));
}

}  // namespace
}  // namespace orthorank
