#include "server/http_server.h"

#include <httplib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstring>

#include "base/hosts.h"
#include "server/answer.h"
#include "server/connection.h"
#include "server/connection_threads.h"
#include "server/fields.h"
#include "server/metrics.h"
#include "server/page.h"
#include "server/stream.h"
#include "server/token_routes.h"

namespace orthorank {

namespace {

using nlohmann::json;
using nlohmann::ordered_json;
using std::chrono::milliseconds;

constexpr milliseconds k_keep_alive{5000};
constexpr milliseconds k_last_answers{5000};
constexpr size_t k_max_head_bytes = 64 << 10;
constexpr int k_backlog = 511;
constexpr const char *k_json = "application/json";

// Takes as long for every wrong key of one length.
bool is_same_key(const std::string &given, const std::string &key) {
    size_t difference = given.size() ^ key.size();
    for (size_t i = 0; i < given.size(); ++i) {
        difference |= static_cast<unsigned char>(given[i] ^ key[i % key.size()]);
    }
    return difference == 0;
}

void write_error(httplib::Response &res, const ApiError &error) {
    res.status = error.status();
    if (error.status() == 429 || error.status() == 503) {
        res.set_header("Retry-After", "1");
    }
    res.set_content(json_line(error.json()), k_json);
}

template <typename Function>
void answering(httplib::Response &res, Function function) {
    try {
        function();
    } catch (...) {
        write_error(res, caught_error());
    }
}

// Counts as long as it is there.
class Counted {
 public:
    explicit Counted(std::atomic<int> &n) : n_(n) { ++n_; }
    ~Counted() { --n_; }
    Counted(const Counted &) = delete;
    Counted &operator=(const Counted &) = delete;

 private:
    std::atomic<int> &n_;
};

template <typename Function>
void wait_until(std::chrono::steady_clock::time_point end, Function is_true) {
    while (!is_true() && std::chrono::steady_clock::now() < end) {
        std::this_thread::sleep_for(milliseconds(1));
    }
}

struct Route {
    const char *method;
    const char *path;
    bool needs_key;
};

constexpr Route k_routes[] = {
    {"GET", "/", false},
    {"GET", "/health", false},
    {"GET", "/metrics", false},
    {"GET", "/v1/models", true},
    {"GET", "/tokenizer_info", true},
    {"POST", "/tokenize", true},
    {"POST", "/detokenize", true},
    {"POST", "/v1/completions", true},
    {"POST", "/v1/chat/completions", true},
};

}  // namespace

// cpp-httplib's server with connections of our own.
struct HttpServer::Impl : httplib::Server {
    explicit Impl(const HttpOptions &given) : options(given) {
        limits.max_request_bytes = options.max_body_bytes + k_max_head_bytes;
        // Not the library's own SO_REUSEPORT, by which two servers share a port unawares.
        set_socket_options([](socket_t socket) {
            const int yes = 1;
            ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        });
        new_task_queue = [this] { return new ConnectionThreads(options.n_connections); };
        if (!options.cors_origin.empty()) {
            set_default_headers({{"Access-Control-Allow-Origin", options.cors_origin},
                                 {"Access-Control-Allow-Headers", "Authorization, Content-Type"},
                                 {"Vary", "Origin"}});
        }
        set_pre_routing_handler([this](const httplib::Request &req, httplib::Response &res) {
            return check_request(req, res) ? HandlerResponse::Unhandled : HandlerResponse::Handled;
        });
        // What the library itself refuses has no body of ours yet.
        set_error_handler(Handler([](const httplib::Request &, httplib::Response &res) {
            if (res.body.empty()) {
                Connection::current().close_after_answer();
                write_error(res, ApiError(res.status, "malformed", "malformed HTTP request"));
            }
        }));
        add_get_routes();
        add_post_routes();
    }

    ~Impl() override {
        if (svr_sock_ != INVALID_SOCKET) {  // bound and never started
            ::close(svr_sock_);
        }
    }

    void bind() {
        if (options.port == 0) {
            port = bind_to_any_port(options.host);
        } else if (bind_to_port(options.host, options.port)) {
            port = options.port;
        }
        if (port <= 0) {
            fail(ErrorKind::device, "cannot listen on {} port {}: {}; choose another with --port",
                 options.host, options.port, std::strerror(errno));
        }
        // The library's own queue of connections holds five.
        ::listen(svr_sock_, k_backlog);
    }

    bool process_and_close_socket(socket_t socket) override {
        Connection connection(socket, limits);
        const LiveSockets::Entry entry(live_sockets, socket);  // gone before the socket is closed
        const auto is_stopping = [this] { return svr_sock_ == INVALID_SOCKET; };
        bool is_closed = false;
        while (!is_closed && !connection.is_last() &&
               connection.wait_for_request(k_keep_alive, is_stopping)) {
            const Counted busy(n_busy);
            // Ranges of an answer make no sense.
            const bool is_answered =
                process_request(connection, is_stopping(), is_closed,
                                [](httplib::Request &req) { req.ranges.clear(); });
            is_closed = is_closed || !is_answered;
        }
        return true;
    }

    const Service &need_service() const {
        const Service *current = service;
        if (current == nullptr) {
            throw ApiError(503, "loading", "the model is being loaded");
        }
        return *current;
    }

    // Who may ask what, before a body is read; false: it is answered.
    bool check_request(const httplib::Request &req, httplib::Response &res) {
        bool goes_on = true;
        answering(res, [&] {
            if (req.method == "OPTIONS" && !options.cors_origin.empty()) {
                res.set_header("Access-Control-Allow-Methods", "GET, POST");
                res.status = 204;
                goes_on = false;
                return;
            }
            const Route *route = route_of(req);
            if (route->needs_key) {
                check_key(req);
            }
            if (req.method == "POST") {
                check_body_head(req);
            }
        });
        goes_on = goes_on && res.status == -1;
        if (!goes_on && req.method != "GET") {
            Connection::current().close_after_answer();
        }
        return goes_on;
    }

    static const Route *route_of(const httplib::Request &req) {
        bool is_path = false;
        for (const Route &route : k_routes) {
            if (req.path == route.path) {
                is_path = true;
                if (req.method == route.method) {
                    return &route;
                }
            }
        }
        throw is_path ? ApiError(405, "method_not_allowed",
                                 fmt::format("{} does not take this method", req.path))
                      : ApiError(404, "not_found", fmt::format("there is no {} here", req.path));
    }

    void check_key(const httplib::Request &req) const {
        const std::string given = req.get_header_value("Authorization");
        bool is_known = options.keys.empty();
        for (const std::string &key : options.keys) {
            is_known = is_same_key(given, "Bearer " + key) || is_known;
        }
        if (!is_known) {
            throw ApiError(401, "invalid_api_key",
                           "this server needs a key: Authorization: Bearer KEY");
        }
    }

    void check_body_head(const httplib::Request &req) const {
        // Pages of other origins may send forms and plain text without being asked for leave.
        if (!req.get_header_value("Content-Type").starts_with(k_json)) {
            throw ApiError(415, "unsupported_media_type",
                           "the body has to be JSON: Content-Type: application/json");
        }
        if (req.has_header("Content-Encoding")) {
            throw ApiError(415, "unsupported_encoding", "a compressed body is not taken");
        }
        if (!req.has_header("Content-Length") && !req.has_header("Transfer-Encoding")) {
            throw ApiError(411, "length_required", "the body has no Content-Length");
        }
        const std::string length = req.get_header_value("Content-Length");
        if (std::strtoull(length.c_str(), nullptr, 10) > options.max_body_bytes) {
            refuse_size();
        }
    }

    [[noreturn]] void refuse_size() const {
        throw ApiError(413, "body_too_large",
                       fmt::format("the body has more than {} bytes", options.max_body_bytes));
    }

    std::string read_body(const httplib::ContentReader &reader) const {
        std::string body;
        bool is_too_large = false;
        const bool is_whole = reader([&](const char *data, size_t n) {
            is_too_large = body.size() + n > options.max_body_bytes;
            if (!is_too_large) {
                body.append(data, n);
            }
            return !is_too_large;
        });
        if (!is_whole) {
            Connection::current().close_after_answer();
            if (is_too_large) {
                refuse_size();
            }
            throw ApiError(400, "incomplete_body", "the body ends too early or came too slowly");
        }
        return body;
    }

    void add_get_routes() {
        // Without a key: there is nothing of anybody in it, and it asks for one.
        Get("/", [](const httplib::Request &, httplib::Response &res) {
            const std::string nonce = new_nonce();
            res.set_header("Content-Security-Policy", page_policy(nonce));
            res.set_header("X-Content-Type-Options", "nosniff");
            res.set_header("Referrer-Policy", "no-referrer");
            res.set_header("Cache-Control", "no-store");
            res.set_content(page_html(nonce), "text/html; charset=utf-8");
        });
        Get("/health", [this](const httplib::Request &, httplib::Response &res) {
            answering(res, [&] {
                (void)need_service();
                res.set_content("{\"status\":\"ok\"}", k_json);
            });
        });
        Get("/metrics", [this](const httplib::Request &, httplib::Response &res) {
            answering(res, [&] {
                if (!options.has_metrics) {
                    throw ApiError(404, "not_found", "metrics are switched off");
                }
                const Service &now = need_service();
                res.set_content(metrics_text(now.loop.counters(), now.memory),
                                "text/plain; version=0.0.4");
            });
        });
        add_get("/v1/models", models_json);
        add_get("/tokenizer_info", tokenizer_info);
    }

    void add_get(const char *path, ordered_json (*function)(const ServedModel &)) {
        Get(path, [this, function](const httplib::Request &, httplib::Response &res) {
            answering(res,
                      [&] { res.set_content(json_line(function(need_service().model)), k_json); });
        });
    }

    template <typename Function>
    void add_post(const char *path, Function function) {
        Post(path, HandlerWithContentReader([this, function](const httplib::Request &,
                                                             httplib::Response &res,
                                                             const httplib::ContentReader &reader) {
                 answering(res, [&] {
                     const json body = parse_body(read_body(reader));
                     function(body, need_service(), res);
                 });
             }));
    }

    void add_post_routes() {
        const auto of_tokens = [](auto function) {
            return [function](const json &body, const Service &now, httplib::Response &res) {
                res.set_content(json_line(function(body, now.model)), k_json);
            };
        };
        add_post("/tokenize", of_tokens(tokenize));
        add_post("/detokenize", of_tokens(detokenize));
        const auto generating = [](auto read) {
            return [read](const json &body, const Service &now, httplib::Response &res) {
                answer_generation(read(body, now.model), now.model, now.loop, res);
            };
        };
        add_post("/v1/completions", generating(read_completion));
        add_post("/v1/chat/completions", generating(read_chat));
    }

    HttpOptions options;
    ConnectionLimits limits;
    int port = 0;
    std::optional<Service> given_service;
    std::atomic<const Service *> service = nullptr;
    LiveSockets live_sockets;
    std::atomic<int> n_busy = 0;          // connections whose answers are not written yet
    std::atomic<bool> has_ended = false;  // the thread listens no more
    std::thread thread;
};

HttpServer::HttpServer(const HttpOptions &options) {
    if (!is_loopback(options.host) && options.keys.empty()) {
        fail(ErrorKind::usage,
             "--host {} can be reached from elsewhere: give --api-key-file or --api-key",
             options.host);
    }
    impl_ = std::make_unique<Impl>(options);
    impl_->bind();
}

HttpServer::~HttpServer() {
    stop();
}

int HttpServer::port() const {
    return impl_->port;
}

std::string HttpServer::url() const {
    const std::string &host = impl_->options.host;
    const bool is_ipv6 = host.find(':') != std::string::npos;
    return fmt::format("http://{}:{}", is_ipv6 ? "[" + host + "]" : host, impl_->port);
}

void HttpServer::start() {
    impl_->thread = std::thread([this] {
        impl_->listen_after_bind();
        impl_->has_ended = true;
    });
    // Before the library listens its stop() does nothing, and joining would wait for ever.
    while (!impl_->is_running() && !impl_->has_ended) {
        std::this_thread::sleep_for(milliseconds(1));
    }
}

void HttpServer::open(const Service &service) {
    impl_->given_service.emplace(service);
    impl_->service = &*impl_->given_service;
}

void HttpServer::stop() {
    if (impl_->thread.joinable()) {
        // The library cuts streams off once it stops.
        const auto end = std::chrono::steady_clock::now() + k_last_answers;
        wait_until(end, [this] { return impl_->n_busy == 0; });
        impl_->stop();
        wait_until(end, [this] { return impl_->has_ended.load(); });
        impl_->live_sockets.cut();  // clients that are slow, or silent in the midst of a request
        impl_->thread.join();
    }
}

}  // namespace orthorank
