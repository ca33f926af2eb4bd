// Names of machines. Pure functions, thread-safe.
#pragma once

#include <string>

namespace orthorank {

// Whether the name means this machine alone; a port may follow an address.
bool is_loopback(const std::string &host);

}  // namespace orthorank
