// How alike two strings are, 0..100, as Python's fuzzywuzzy 0.18 computes `fuzz.ratio`, which
// LongBench uses for code. Debian 12 has no library for it (rapidfuzz-cpp is not packaged, and has
// the second of the two only), so both are written out here. Lengths are Unicode characters. Pure
// functions, thread-safe, throw nothing.
#pragma once

#include <string_view>

namespace orthorank {

enum class Similarity {
    difflib,      // Ratcliff and Obershelp 1988 as in Python's difflib, with its auto-junk rule:
                  // what the benchmark's requirements give
    levenshtein,  // 2 * LCS / (|a| + |b|): what it becomes where python-Levenshtein is installed
};

// 100 for equal texts (both empty too), 0 if one is empty, else 100 * 2 * matches / (|a| + |b|),
// rounded half to even.
int similarity_ratio(std::string_view a, std::string_view b, Similarity kind = Similarity::difflib);

}  // namespace orthorank
