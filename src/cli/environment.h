// What the environment says: the one place that reads it (and cli/spin_limit.cpp, which starts the
// program again). Everything below cli/ is given it as options. Used by one thread.
#pragma once

#include <string>

namespace orthorank {

// $ORTHORANK_MODEL, or the installed model.
std::string default_model_path();

// The folder of shipped plans: $ORTHORANK_PLANS_DIR, or that of this program.
std::string shipped_plans_dir();

// Whether $TERM says that the terminal cannot clear a line.
bool is_dumb_terminal();

// $XDG_CACHE_HOME/orthorank/weights.json, else ~/.cache/...; empty when neither is set.
std::string weight_cache_path();

}  // namespace orthorank
