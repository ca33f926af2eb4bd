// The page at GET /: page.html beside this file, which CMake makes a string of. It needs nothing
// from elsewhere, and its policy forbids it. Pure functions.
#pragma once

#include <string>

namespace orthorank {

// nonce: what the page's own script is known by, another one for each answer.
std::string page_html(const std::string &nonce);
// The page's Content-Security-Policy.
std::string page_policy(const std::string &nonce);
// 128 random bits.
std::string new_nonce();

}  // namespace orthorank
