#include "model/special_names.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace orthorank {

namespace {

constexpr uint32_t k_free = UINT32_MAX;

size_t pair_of(char first, char second) {
    return size_t{static_cast<unsigned char>(first)} << 8 | static_cast<unsigned char>(second);
}

struct NameMatch {
    const SpecialName *name = nullptr;
    size_t end = 0;  // behind the white space that it swallows
};

// What libllama's splitter does: each name in turn takes what is free, from left to right.
class NameFinder {
 public:
    explicit NameFinder(std::string_view text) : text_(text), owners_(text.size(), k_free) {}

    // False: it meets another name of its length, and which comes first is not known.
    bool find_all(const SpecialName &name) {
        size_t at = text_.find(name.name);
        while (at != std::string_view::npos) {
            const NameMatch *other = first_owner(at, at + name.name.size());
            if (other == nullptr) {
                if (!take(name, at)) {
                    return false;
                }
                at = matches_.back().end;
            } else if (is_tied(*other, name)) {
                return false;
            } else {
                at = other->end;
            }
            at = text_.find(name.name, at);
        }
        return true;
    }

    std::vector<size_t> ends() const {
        std::vector<size_t> ends;
        for (const NameMatch &match : matches_) {
            ends.push_back(match.end);
        }
        std::sort(ends.begin(), ends.end());
        return ends;
    }

 private:
    static bool is_tied(const NameMatch &match, const SpecialName &name) {
        return match.name != &name && match.name->name.size() == name.name.size();
    }

    const NameMatch *first_owner(size_t first, size_t end) const {
        for (size_t i = first; i < end; ++i) {
            if (owners_[i] != k_free) {
                return &matches_[owners_[i]];
            }
        }
        return nullptr;
    }

    bool is_free_space(size_t i) const { return owners_[i] == k_free && is_white_space(text_[i]); }

    // White space that the name would swallow if it came before the one that has it.
    bool is_tied_space(const SpecialName &name, size_t i) const {
        return owners_[i] != k_free && is_white_space(text_[i]) &&
               is_tied(matches_[owners_[i]], name);
    }

    bool take(const SpecialName &name, size_t at) {
        size_t first = at;
        size_t end = at + name.name.size();
        if (name.strips_left) {
            while (first > 0 && is_free_space(first - 1)) {
                --first;
            }
            if (first > 0 && is_tied_space(name, first - 1)) {
                return false;
            }
        }
        if (name.strips_right) {
            while (end < text_.size() && is_free_space(end)) {
                ++end;
            }
            if (end < text_.size() && is_tied_space(name, end)) {
                return false;
            }
        }
        std::fill(owners_.begin() + static_cast<ptrdiff_t>(first),
                  owners_.begin() + static_cast<ptrdiff_t>(end),
                  static_cast<uint32_t>(matches_.size()));
        matches_.push_back({&name, end});
        return true;
    }

    std::string_view text_;
    std::vector<uint32_t> owners_;  // of each byte: a match, or free
    std::vector<NameMatch> matches_;
};

}  // namespace

bool is_white_space(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

void SpecialNames::set(std::vector<SpecialName> names) {
    names_ = std::move(names);
    std::stable_sort(names_.begin(), names_.end(), [](const SpecialName &a, const SpecialName &b) {
        return a.name.size() > b.name.size();
    });
    starts_.reset();
    for (const SpecialName &name : names_) {
        if (name.name.size() > 1) {
            starts_.set(pair_of(name.name[0], name.name[1]));
            continue;
        }
        for (size_t next = 0; next < 256; ++next) {
            starts_.set(pair_of(name.name[0], '\0') + next);
        }
    }
}

std::vector<std::string_view> SpecialNames::blocks(std::string_view text,
                                                   bool with_controls) const {
    Pairs seen;
    size_t n_starts = 0;
    for (size_t i = 1; i < text.size(); ++i) {
        const size_t pair = pair_of(text[i - 1], text[i]);
        if (starts_[pair]) {
            seen.set(pair);
            ++n_starts;
        }
    }
    if (n_starts <= k_most_in_a_block) {
        return {text};
    }
    NameFinder finder(text);
    for (const SpecialName &name : names_) {
        const bool is_asked = with_controls || !name.is_control;
        const bool may_occur = name.name.size() == 1 || seen[pair_of(name.name[0], name.name[1])];
        if (is_asked && may_occur && !finder.find_all(name)) {
            return {text};
        }
    }
    std::vector<std::string_view> found;
    const std::vector<size_t> ends = finder.ends();
    size_t done = 0;
    for (size_t i = k_most_in_a_block; i <= ends.size(); i += k_most_in_a_block) {
        found.push_back(text.substr(done, ends[i - 1] - done));
        done = ends[i - 1];
    }
    if (done < text.size()) {
        found.push_back(text.substr(done));
    }
    return found;
}

}  // namespace orthorank
