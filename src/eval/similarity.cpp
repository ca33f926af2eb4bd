#include "eval/similarity.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <unordered_map>
#include <vector>

#include "base/utf8.h"

namespace orthorank {

namespace {

using Points = std::vector<int32_t>;

struct Range {
    size_t a_begin, a_end, b_begin, b_end;
};

struct Run {
    size_t a, b, size;
};

// Where each character stands in b. In a b of 200 characters or more, one that stands for more than
// a hundredth of it (plus one) is "popular" and has no entry: difflib's auto-junk.
class Places {
 public:
    explicit Places(const Points &b) {
        for (size_t j = 0; j < b.size(); j++) {
            places_[b[j]].push_back(j);
        }
        if (b.size() >= 200) {
            const size_t n_allowed = b.size() / 100 + 1;
            std::erase_if(places_,
                          [&](const auto &entry) { return entry.second.size() > n_allowed; });
        }
    }
    const std::vector<size_t> &of(int32_t character) const {
        static const std::vector<size_t> none;
        const auto found = places_.find(character);
        return found == places_.end() ? none : found->second;
    }

 private:
    std::unordered_map<int32_t, std::vector<size_t>> places_;
};

// The longest run of characters that both ranges have; of equally long ones the first in a, then
// in b. Popular characters only lengthen a run that was found without them.
Run longest_run(const Points &a, const Points &b, const Places &places, const Range &range) {
    Run best{range.a_begin, range.b_begin, 0};
    // run_sizes[j + 1]: length of the run that ends at (i, j); the row before is kept beside it
    std::vector<size_t> previous(b.size() + 1, 0);
    std::vector<size_t> current(b.size() + 1, 0);
    for (size_t i = range.a_begin; i < range.a_end; i++) {
        for (const size_t j : places.of(a[i])) {
            if (j < range.b_begin || j >= range.b_end) {
                continue;
            }
            const size_t size = previous[j] + 1;
            current[j + 1] = size;
            if (size > best.size) {
                best = {i + 1 - size, j + 1 - size, size};
            }
        }
        std::swap(previous, current);
        std::fill(current.begin(), current.end(), 0);
    }
    while (best.a > range.a_begin && best.b > range.b_begin && a[best.a - 1] == b[best.b - 1]) {
        best = {best.a - 1, best.b - 1, best.size + 1};
    }
    while (best.a + best.size < range.a_end && best.b + best.size < range.b_end &&
           a[best.a + best.size] == b[best.b + best.size]) {
        best.size++;
    }
    return best;
}

size_t n_matching_difflib(const Points &a, const Points &b) {
    const Places places(b);
    size_t n_matching = 0;
    std::vector<Range> open{{0, a.size(), 0, b.size()}};
    while (!open.empty()) {
        const Range range = open.back();
        open.pop_back();
        const Run run = longest_run(a, b, places, range);
        if (run.size == 0) {
            continue;
        }
        n_matching += run.size;
        if (range.a_begin < run.a && range.b_begin < run.b) {
            open.push_back({range.a_begin, run.a, range.b_begin, run.b});
        }
        if (run.a + run.size < range.a_end && run.b + run.size < range.b_end) {
            open.push_back({run.a + run.size, range.a_end, run.b + run.size, range.b_end});
        }
    }
    return n_matching;
}

// The length of the longest common subsequence.
size_t n_matching_levenshtein(const Points &a, const Points &b) {
    std::vector<size_t> row(b.size() + 1, 0);
    for (const int32_t character : a) {
        size_t diagonal = 0;
        for (size_t j = 1; j <= b.size(); j++) {
            const size_t above = row[j];
            row[j] = character == b[j - 1] ? diagonal + 1 : std::max(above, row[j - 1]);
            diagonal = above;
        }
    }
    return row.back();
}

}  // namespace

int similarity_ratio(std::string_view a_text, std::string_view b_text, Similarity kind) {
    if (a_text == b_text) {
        return 100;
    }
    const Points a = to_code_points(a_text);
    const Points b = to_code_points(b_text);
    if (a.empty() || b.empty()) {
        return 0;
    }
    const size_t n_matching =
        kind == Similarity::difflib ? n_matching_difflib(a, b) : n_matching_levenshtein(a, b);
    const double ratio =
        2.0 * static_cast<double>(n_matching) / static_cast<double>(a.size() + b.size());
    return static_cast<int>(std::nearbyint(100 * ratio));
}

}  // namespace orthorank
