// Makes whole UTF-8 characters of bytes that arrive in pieces, as tokens do: what a terminal or a
// JSON text may be given. Owned by one thread.
#pragma once

#include <string>
#include <string_view>

namespace orthorank {

class Utf8Buffer {
 public:
    // Takes more bytes and returns the characters that are complete now. Bytes that can be no part
    // of a character become U+FFFD each.
    std::string push(std::string_view bytes);

    // Bytes held back: the beginning of a character.
    std::string_view rest() const { return rest_; }

 private:
    std::string rest_;
};

}  // namespace orthorank
