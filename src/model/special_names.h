// Names of special tokens in a text. libllama splits a text at them in a time that grows with the
// square of how many there are, so a text with many goes to it in blocks. Thread-safe when set.
#pragma once

#include <bitset>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace orthorank {

// What libllama's splitter takes for white space.
bool is_white_space(char c);

struct SpecialName {
    std::string name;          // not empty
    bool is_control = false;   // found only where the caller parses these; else always
    bool strips_left = false;  // swallows the white space before or behind it
    bool strips_right = false;
};

class SpecialNames {
 public:
    static constexpr size_t k_most_in_a_block = 256;

    // In the order of their tokens.
    void set(std::vector<SpecialName> names);
    // The text in blocks of at most so many names. Each but the last ends with a name and the white
    // space that it swallows, where libllama's splitter cuts too: the blocks' tokens are the
    // text's. One block where names of one length overlap in the text: then the splitter's own
    // order decides.
    std::vector<std::string_view> blocks(std::string_view text, bool with_controls) const;

 private:
    using Pairs = std::bitset<1 << 16>;  // of a byte and the next

    std::vector<SpecialName> names_;  // the longest first, as libllama looks for them
    Pairs starts_;                    // what names begin with
};

}  // namespace orthorank
