// The server's HTTP side: who may ask what, bodies in, answers and streams out. Translates; the
// engine's loop computes. It listens as soon as it is started and answers 503 until it is opened
// with a model. Handlers run in a fixed number of threads, each with one connection.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/engine.h"
#include "server/engine_loop.h"
#include "server/served_model.h"

namespace orthorank {

struct HttpOptions {
    std::string host = "127.0.0.1";
    int port = 8080;                // 0: a free one
    std::vector<std::string> keys;  // one of them is needed; empty: none is
    bool has_metrics = true;
    size_t max_body_bytes = size_t{4} << 20;
    std::string cors_origin;  // pages of this origin may ask; empty: none
    size_t n_connections = 80;
};

// What requests are answered from; all of it outlives the server's stop().
struct Service {
    ServedModel model;
    EngineLoop &loop;
    Engine::MemoryUse memory;
};

class HttpServer {
 public:
    // Takes the port. Throws Error{device} when it cannot, Error{usage} for another host than this
    // machine's loopback without a key.
    explicit HttpServer(const HttpOptions &options);
    ~HttpServer();
    HttpServer(const HttpServer &) = delete;
    HttpServer &operator=(const HttpServer &) = delete;

    int port() const;
    // "http://127.0.0.1:8080"
    std::string url() const;
    // Begins to answer, in threads of its own.
    void start();
    // From now on with this service.
    void open(const Service &service);
    // Takes no further connections and waits until all answers are on their way, for five seconds
    // at most: then connections are cut off.
    void stop();

 private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace orthorank
