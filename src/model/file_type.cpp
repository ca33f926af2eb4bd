#include "model/file_type.h"

#include <algorithm>
#include <cctype>

namespace orthorank {

namespace {

struct FileType {
    const char *name;
    int number;
    bool can_make;  // without an importance matrix
};

// A name that stands for several mixtures is listed behind the one that it means.
constexpr FileType k_file_types[] = {
    {"F32", 0, true},        {"F16", 1, true},       {"BF16", 32, true},   {"Q8_0", 7, true},
    {"Q6_K", 18, true},      {"Q5_K_M", 17, true},   {"Q5_K", 17, true},   {"Q5_K_S", 16, true},
    {"Q5_1", 9, true},       {"Q5_0", 8, true},      {"Q4_K_M", 15, true}, {"Q4_K", 15, true},
    {"Q4_K_S", 14, true},    {"Q4_1", 3, true},      {"Q4_0", 2, true},    {"IQ4_NL", 25, true},
    {"IQ4_XS", 30, true},    {"Q3_K_L", 13, true},   {"Q3_K_M", 12, true}, {"Q3_K", 12, true},
    {"Q3_K_S", 11, true},    {"Q2_K", 10, true},     {"TQ2_0", 37, true},  {"TQ1_0", 36, true},
    {"MXFP4_MOE", 38, true}, {"IQ3_M", 27, false},   {"IQ3_S", 26, false}, {"IQ3_XS", 22, false},
    {"IQ3_XXS", 23, false},  {"Q2_K_S", 21, false},  {"IQ2_M", 29, false}, {"IQ2_S", 28, false},
    {"IQ2_XS", 20, false},   {"IQ2_XXS", 19, false}, {"IQ1_M", 31, false}, {"IQ1_S", 24, false},
    {"NVFP4", 39, false},    {"Q1_0", 40, false},    {"Q2_0", 41, false},
};

}  // namespace

std::optional<std::string> file_type_name(int64_t file_type) {
    for (const FileType &known : k_file_types) {
        if (known.number == file_type) {
            return known.name;
        }
    }
    return {};
}

std::optional<int> file_type_number(const std::string &name) {
    std::string upper = name;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    for (const FileType &known : k_file_types) {
        if (known.can_make && upper == known.name) {
            return known.number;
        }
    }
    return {};
}

std::string file_type_names() {
    std::string names;
    for (const FileType &known : k_file_types) {
        if (known.can_make) {
            names += (names.empty() ? "" : ", ") + std::string(known.name);
        }
    }
    return names;
}

}  // namespace orthorank
