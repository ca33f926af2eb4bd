// The default model in other types, for tests: made once with libllama's quantiser and kept in the
// build directory.
#pragma once

#include <string>

namespace orthorank::test {

// The path of the default model as "Q4_0", "F32", ...; its own file for the type it has, Q4_1.
// Check has_default_model() first.
std::string default_model_as(const std::string &type);

// The text of WikiText-2's raw test split beside the checkout; empty when there is none.
std::string wikitext();

}  // namespace orthorank::test
