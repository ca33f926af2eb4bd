// Texts with long runs of one kind of character. For some vocabularies libllama splits a text by
// libstdc++'s regular expressions, which recurse once for each character of a match (320 bytes of
// stack each); a match never goes on behind a blank and what is not one. So the longest stretch
// without such a border says how much stack a text needs. Thread-safe.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

namespace orthorank {

// A stretch of characters that are not blank and the blanks that follow it, in bytes.
struct TextRun {
    size_t first = 0;
    size_t n_bytes = 0;
};

// The longest run of the text; the first of equals. Blank is what Unicode calls white space.
TextRun longest_run(std::string_view text);

// Runs tokenize(text) last, with the stack that it needs, on a thread of its own if that is much.
// Where a run is longer than k_longest_run and the vocabulary's splitter really recurses on it
// (which is tried out on pieces of it), throws Error{limit} naming the run.
// has_blank_matches: the vocabulary's matches do go on behind blanks.
constexpr size_t k_longest_run = size_t{1} << 20;
void tokenize_with_stack(std::string_view text, bool has_blank_matches,
                         const std::function<void(std::string_view)> &tokenize);

}  // namespace orthorank
