// --temp, --top-k, --top-p, --min-p, the penalties and --seed.
#pragma once

#include <CLI/CLI.hpp>

#include "engine/sampler.h"

namespace orthorank {

void add_sampler_options(CLI::App &command, SamplerOptions &sampler);

}  // namespace orthorank
