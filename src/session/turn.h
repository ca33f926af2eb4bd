// What runs in a step of a session: private to it.
#pragma once

#include <memory>
#include <vector>

#include "engine/forward.h"
#include "engine/stretch.h"

namespace orthorank {

struct LiveRequest;

// A pass in progress, and whose it is.
struct Turn {
    std::vector<LiveRequest *> members;
    bool is_long = false;  // one prompt, one graph a step
    BoundaryTap tap{{}, {}};
    std::unique_ptr<ForwardPass> pass;  // none before its first graph

    bool is_over() const { return members.empty(); }
};

}  // namespace orthorank
