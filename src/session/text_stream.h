// The text of an answer as its tokens come: whole UTF-8 characters only, and never any part of a
// stop string, however the tokens fall: what may be the beginning of one is held back. Owned by one
// thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"

namespace orthorank {

class TextStream {
 public:
    // stops: UTF-8, none of them empty.
    explicit TextStream(std::vector<std::string> stops = {}) : stops_(std::move(stops)) {}

    // Takes a token's bytes and returns what is sure to be part of the text now. Where a stop
    // string appears the text ends before it.
    std::string push(std::string_view bytes);
    bool is_stopped() const { return is_stopped_; }
    // No more tokens come: what was held back for a stop string. An incomplete character is lost.
    std::string flush();

 private:
    std::vector<std::string> stops_;
    Utf8Buffer characters_;
    std::string held_;  // whole characters that may begin a stop string
    bool is_stopped_ = false;
};

}  // namespace orthorank
