#include "base/strings.h"

namespace orthorank {

std::vector<std::string> split_at(std::string_view text, char separator) {
    std::vector<std::string> pieces;
    size_t begin = 0;
    for (size_t end = text.find(separator); end != std::string_view::npos;
         end = text.find(separator, begin)) {
        pieces.emplace_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    pieces.emplace_back(text.substr(begin));
    return pieces;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
    std::string out;
    size_t begin = 0;
    for (size_t found = text.find(from); found != std::string_view::npos;
         found = text.find(from, begin)) {
        out.append(text.substr(begin, found - begin)).append(to);
        begin = found + from.size();
    }
    return out.append(text.substr(begin));
}

}  // namespace orthorank
