// The single commands that make a table's or figure's numbers, as a reader would type them. Pure
// functions.
#pragma once

#include <string>
#include <vector>

#include "reproduction/needs.h"
#include "reproduction/workshop.h"

namespace orthorank {

// model_options: " -m FILE" and what else of the model's options was given; empty: nothing.
std::vector<std::string> commands_text(const Workshop &workshop, const Needs &needs,
                                       const std::string &model_options);

}  // namespace orthorank
