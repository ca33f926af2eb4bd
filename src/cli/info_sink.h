// `info --sink`: the first token as a sink, measured on a text.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "analysis/sink_report.h"
#include "cli/shared_options.h"

namespace orthorank {

// On the first k_sink_tokens of the text, line ends left out. text: a file, or empty: the
// documentation. Throws Error{limit} for a shorter text or a shorter context, Error{format} for a
// model of one layer.
SinkReport sink_of(const Model &model, const ModelArguments &arguments, const std::string &text);

nlohmann::ordered_json sink_json(const SinkReport &report, const Model &model);
void print_sink(const SinkReport &report, const Model &model);

}  // namespace orthorank
