#include "server/page.h"

#include <fmt/format.h>

#include <random>

namespace orthorank {

// In the build tree, from page_text.cpp.in.
extern const char *const k_page_text;

std::string page_html(const std::string &nonce) {
    static constexpr std::string_view k_place = "{{nonce}}";
    std::string page = k_page_text;
    return page.replace(page.find(k_place), k_place.size(), nonce);
}

// Styles are inline in the drawings of maps too; nothing in an answer becomes a style or a script.
std::string page_policy(const std::string &nonce) {
    return fmt::format(
        "default-src 'none'; script-src 'nonce-{}'; style-src 'unsafe-inline'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        nonce);
}

std::string new_nonce() {
    std::random_device random;
    return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

}  // namespace orthorank
