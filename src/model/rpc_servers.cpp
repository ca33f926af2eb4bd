#include "model/rpc_servers.h"

#include <arpa/inet.h>
#include <ggml-rpc.h>
#ifdef __linux__
#include <linux/tcp.h>
#endif
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string_view>
#include <thread>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/strings.h"
#include "base/threads.h"
#include "model/devices.h"

namespace orthorank {

namespace {

constexpr int k_greeting_ms = 5000;
constexpr int k_pause_ms = 5;
constexpr int k_end_ms = 300;
// The greeting of ggml's protocol: a command, a size and 24 bytes that say what the client's end of
// the connection can do (nothing more than TCP); the answer is a size, a version and as much.
constexpr uint8_t k_hello = 14;
constexpr size_t k_n_caps = 24;

struct Endpoint {
    std::string host;
    int port = 0;

    std::string text() const { return fmt::format("{}:{}", host, port); }
};

Endpoint endpoint_from(const std::string &text) {
    const size_t colon = text.rfind(':');
    Endpoint endpoint;
    bool is_good = colon != std::string::npos && colon > 0;
    if (is_good) {
        endpoint.host = text.substr(0, colon);
        const char *end = text.data() + text.size();
        const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, endpoint.port);
        is_good = error == std::errc() && stop == end && endpoint.port > 0 &&
                  endpoint.port < 65536 && endpoint.host.find(':') == std::string::npos;
    }
    if (!is_good) {
        fail(ErrorKind::usage,
             "--rpc {}: expected HOST:PORT with a name or IPv4 address, several separated by "
             "commas",
             text);
    }
    return endpoint;
}

// The IPv4 address of a host; ggml's sockets know no others.
sockaddr_in address_of(const std::string &host, int port) {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo *found = nullptr;
    const int code = ::getaddrinfo(host.c_str(), nullptr, &hints, &found);
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
    if (code != 0) {
        fail(ErrorKind::device, "host {} is not known: {}", host, ::gai_strerror(code));
    }
    sockaddr_in address{};
    std::memcpy(&address, found->ai_addr, sizeof(address));
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
}

const sockaddr *as_sockaddr(const sockaddr_in &address) {
    return reinterpret_cast<const sockaddr *>(&address);
}

// Waits until the socket can be read or written; false when the time is over.
bool wait_for(int fd, short events) {
    pollfd waiting{fd, events, 0};
    return ::poll(&waiting, 1, k_greeting_ms) == 1;
}

// 0, or the errno of a connection that could not be made.
int connect_in_time(int fd, const sockaddr_in &address) {
    if (::connect(fd, as_sockaddr(address), sizeof(address)) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return errno;
    }
    if (!wait_for(fd, POLLOUT)) {
        return ETIMEDOUT;
    }
    int code = 0;
    socklen_t size = sizeof(code);
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
    return code;
}

// As many bytes as come in time, at most n.
std::string receive(int fd, size_t n) {
    std::string bytes;
    std::array<char, 64> part{};
    while (bytes.size() < n && wait_for(fd, POLLIN)) {
        const ssize_t got = ::recv(fd, part.data(), std::min(part.size(), n - bytes.size()), 0);
        if (got <= 0) {
            break;
        }
        bytes.append(part.data(), static_cast<size_t>(got));
    }
    return bytes;
}

// Greets the server as ggml will, and goes away: it has one client at a time.
void greet(const Endpoint &endpoint) {
    const sockaddr_in address = address_of(endpoint.host, endpoint.port);
    const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int code = socket.is_open() ? connect_in_time(socket.fd(), address) : errno;
    if (code != 0) {
        fail(ErrorKind::device,
             "RPC server {} cannot be reached: {} (start one there: orthorank rpc-server)",
             endpoint.text(), errno_text(code));
    }
    std::string hello(1, static_cast<char>(k_hello));
    const uint64_t n_caps = k_n_caps;
    hello.append(reinterpret_cast<const char *>(&n_caps), sizeof(n_caps));
    hello.append(k_n_caps, '\0');
    ::send(socket.fd(), hello.data(), hello.size(), MSG_NOSIGNAL);
    const std::string answer = receive(socket.fd(), sizeof(uint64_t) + 3);
    uint64_t n_answer = 0;
    if (answer.empty()) {
        fail(ErrorKind::device,
             "RPC server {} does not answer: it has one client at a time (is another using it?), "
             "or it is no RPC server",
             endpoint.text());
    }
    if (answer.size() < sizeof(n_answer) + 3) {
        fail(ErrorKind::device, "{} is no RPC server: it answers something else", endpoint.text());
    }
    std::memcpy(&n_answer, answer.data(), sizeof(n_answer));
    const auto *version = reinterpret_cast<const uint8_t *>(answer.data()) + sizeof(n_answer);
    if (n_answer > 4 + k_n_caps) {
        fail(ErrorKind::device, "{} is no RPC server: it answers something else", endpoint.text());
    }
    if (version[0] != RPC_PROTO_MAJOR_VERSION || version[1] > RPC_PROTO_MINOR_VERSION ||
        n_answer != 4 + k_n_caps) {
        fail(ErrorKind::device,
             "RPC server {} speaks version {}.{}.{} of ggml's protocol, this program {}.{}.{}: "
             "both ends need the same llama.cpp",
             endpoint.text(), version[0], version[1], version[2], RPC_PROTO_MAJOR_VERSION,
             RPC_PROTO_MINOR_VERSION, RPC_PROTO_PATCH_VERSION);
    }
}

// A function of ggml's RPC back end, found at run time: it may be a module.
template <typename Function>
Function rpc_function(const char *name) {
    load_backends();
    ggml_backend_reg_t registry = ggml_backend_reg_by_name("RPC");
    void *address =
        registry != nullptr ? ggml_backend_reg_get_proc_address(registry, name) : nullptr;
    if (address == nullptr) {
        fail(ErrorKind::device,
             "this llama.cpp was built without RPC: build it with -DGGML_RPC=ON");
    }
    return reinterpret_cast<Function>(address);
}

// Of this process: ggml's registry, its callback and the signals are the process's too.
struct Connected {
    std::mutex mutex;
    std::vector<Endpoint> servers;
    OnServerLost on_lost = nullptr;
};

Connected &connected() {
    static Connected servers;
    return servers;
}

// Those that refuse a connection; a server that lives takes it, though it is busy with us.
std::string lost_servers() {
    std::string gone;
    for (const Endpoint &endpoint : connected().servers) {
        const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        bool is_lost = true;
        try {
            is_lost = connect_in_time(socket.fd(), address_of(endpoint.host, endpoint.port)) != 0;
        } catch (const Error &) {  // its name is not known any more
        }
        if (is_lost) {
            gone += (gone.empty() ? "" : ", ") + endpoint.text();
        }
    }
    return gone;
}

// Instead of ggml's message and backtrace. What is not about a server still aborts behind it.
void on_ggml_abort(const char *message) {
    if (std::strstr(message, "ggml-rpc") == nullptr) {
        std::fputs(message, stderr);
        std::fputc('\n', stderr);
        return;
    }
    // Several threads may find it, and one is enough to end the program.
    static std::atomic_flag is_told = ATOMIC_FLAG_INIT;
    while (is_told.test_and_set()) {
        ::pause();
    }
    std::string gone = lost_servers();
    if (gone.empty()) {  // its end may not be over yet
        std::this_thread::sleep_for(std::chrono::milliseconds(k_end_ms));
        gone = lost_servers();
    }
    connected().on_lost(
        gone.empty() ? "an RPC server closed the connection: its own output says why"
                     : fmt::format("RPC server {} was lost: the connection is closed", gone));
}

void print_errors(ggml_log_level level, const char *text, void *) {
    if (level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN) {
        std::fputs(text, stderr);
    }
}

// ggml does not say when it listens: greets it until it answers.
void announce(const Endpoint &endpoint, const std::function<void(const std::string &)> &on_ready) {
    for (int i = 0; i < k_greeting_ms / k_pause_ms; ++i) {
        try {
            greet(endpoint);
            on_ready(endpoint.text());
            return;
        } catch (const Error &) {
            std::this_thread::sleep_for(std::chrono::milliseconds(k_pause_ms));
        }
    }
}

Endpoint free_endpoint(const Endpoint &wanted) {
    sockaddr_in address = address_of(wanted.host, wanted.port);
    const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    ::setsockopt(socket.fd(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    if (::bind(socket.fd(), as_sockaddr(address), sizeof(address)) != 0 ||
        ::listen(socket.fd(), 1) != 0) {
        fail(ErrorKind::device, "cannot listen on {}: {}", wanted.text(), errno_text(errno));
    }
    socklen_t size = sizeof(address);
    ::getsockname(socket.fd(), reinterpret_cast<sockaddr *>(&address), &size);
    std::array<char, INET_ADDRSTRLEN> text{};
    ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
    return {text.data(), ntohs(address.sin_port)};
}

}  // namespace

void connect_servers(const std::string &list, OnServerLost on_lost) {
    CHECK(on_lost != nullptr);
    std::vector<Endpoint> endpoints;
    for (const std::string &text : split_at(list, ',')) {
        endpoints.push_back(endpoint_from(text));
    }
    const auto add_server =
        rpc_function<decltype(&ggml_backend_rpc_add_server)>("ggml_backend_rpc_add_server");
    Connected &servers = connected();
    const std::scoped_lock lock(servers.mutex);
    servers.on_lost = on_lost;
    ggml_set_abort_callback(on_ggml_abort);
    std::signal(SIGPIPE, SIG_IGN);
    for (const Endpoint &endpoint : endpoints) {
        const bool is_known =
            std::any_of(servers.servers.begin(), servers.servers.end(),
                        [&](const Endpoint &known) { return known.text() == endpoint.text(); });
        if (is_known) {
            continue;
        }
        greet(endpoint);
        servers.servers.push_back(endpoint);
        ggml_backend_reg_t registry = add_server(endpoint.text().c_str());
        if (registry == nullptr) {
            fail(ErrorKind::device, "RPC server {} has no devices", endpoint.text());
        }
        ggml_backend_register(registry);
    }
}

#ifdef __linux__
std::optional<RpcTraffic> rpc_traffic() {
    Connected &servers = connected();
    const std::scoped_lock lock(servers.mutex);
    std::optional<RpcTraffic> sum;
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
        const int fd = std::atoi(entry.path().filename().c_str());
        sockaddr_in peer{};
        socklen_t size = sizeof(peer);
        if (::getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &size) != 0 ||
            peer.sin_family != AF_INET) {
            continue;
        }
        tcp_info info{};
        size = sizeof(info);
        const bool is_server =
            std::any_of(servers.servers.begin(), servers.servers.end(),
                        [&](const Endpoint &known) { return known.port == ntohs(peer.sin_port); });
        if (is_server && ::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
            sum = sum.value_or(RpcTraffic{});
            sum->sent += static_cast<int64_t>(info.tcpi_bytes_acked);
            sum->received += static_cast<int64_t>(info.tcpi_bytes_received);
        }
    }
    return sum;
}
#else
std::optional<RpcTraffic> rpc_traffic() {
    return {};
}
#endif

void serve_devices(const DeviceServerOptions &options,
                   const std::function<void(const std::string &)> &on_ready) {
    const auto start_server =
        rpc_function<decltype(&ggml_backend_rpc_start_server)>("ggml_backend_rpc_start_server");
    std::vector<ggml_backend_dev_t> devices = choose_devices(options.device);
    const Endpoint endpoint = free_endpoint({options.host, options.port});
    std::signal(SIGPIPE, SIG_IGN);  // a client that went away
    ggml_log_set(print_errors, nullptr);
    std::thread announcer([&] { announce(endpoint, on_ready); });
    const int n_threads = options.n_threads > 0 ? options.n_threads : default_n_threads();
    start_server(endpoint.text().c_str(),
                 options.cache_dir.empty() ? nullptr : options.cache_dir.c_str(),
                 static_cast<size_t>(n_threads), devices.size(), devices.data());
    announcer.join();
    fail(ErrorKind::device, "the server on {} ended: see above", endpoint.text());
}

}  // namespace orthorank
