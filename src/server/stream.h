// From a generation that was read to its answer on a connection: waits for the engine's events,
// looks whether the client is still there, writes the whole answer or a stream of server-sent
// events. Called by the connection's thread.
#pragma once

#include <httplib.h>

#include <nlohmann/json.hpp>
#include <string>

#include "server/api_error.h"
#include "server/engine_loop.h"
#include "server/generation.h"

namespace orthorank {

// Throws ApiError for what is to be answered with an error. A client that goes away ends the job.
void answer_generation(Generation generation, const ServedModel &served, EngineLoop &loop,
                       httplib::Response &res);

// What the exception that is being handled is to a client. In a catch block only.
ApiError caught_error();

// One line of JSON; what is not UTF-8 becomes U+FFFD.
std::string json_line(const nlohmann::ordered_json &json);

}  // namespace orthorank
