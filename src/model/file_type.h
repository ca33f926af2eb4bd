// Names of quantisations of whole files ("Q4_K_M") and their numbers in general.file_type, which
// are libllama's. Plain data.
#pragma once

#include <optional>
#include <string>

namespace orthorank {

// The name of a file type, or nothing for an unknown number.
std::optional<std::string> file_type_name(int64_t file_type);
// The number for a name as quantize() takes it, in any case; nothing when it is not in the list.
std::optional<int> file_type_number(const std::string &name);
// The names that quantize() takes, for messages.
std::string file_type_names();

}  // namespace orthorank
