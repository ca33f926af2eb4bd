// ROUGE-L (Lin 2004) at summary level over sets of words, as the Python package "rouge" 1.0.1
// (pltrdy/rouge) computes it, which is what LongBench reports. Pure, thread-safe, throws nothing.
#pragma once

#include <string_view>

namespace orthorank {

// The F value, 0..1; 0 if one of the texts has no sentence.
double rouge_l(std::string_view prediction, std::string_view reference);

}  // namespace orthorank
