// How many threads to compute with when nobody says.
#pragma once

namespace orthorank {

// One per processor; at least 1.
int default_n_threads();

}  // namespace orthorank
