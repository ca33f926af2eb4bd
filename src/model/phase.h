// What a forward call does with its rows. Decides when a plan selects, and which copy of the
// weights multiplies them. Plain data.
#pragma once

namespace orthorank {

enum class Phase { prefill, decode };

}  // namespace orthorank
