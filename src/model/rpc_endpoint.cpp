#include "model/rpc_endpoint.h"

#include <ggml-backend.h>
#include <ggml-rpc.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>

#include "base/descriptor.h"
#include "base/error.h"
#include "model/devices.h"

namespace orthorank {

namespace {

constexpr std::chrono::seconds k_usual_time{5};
constexpr int k_silence_s = 15;
constexpr int k_question_s = 5;
constexpr int k_n_questions = 3;
// The greeting of ggml's protocol: a command, a size and 24 bytes that say what the client's end of
// the connection can do (nothing more than TCP); the answer is a size, a version and as much.
constexpr uint8_t k_hello = 14;
constexpr size_t k_n_caps = 24;
constexpr size_t k_n_version = 4;

// Waits until the socket can be read or written; false when the time is over.
bool wait_for(int fd, short events, Deadline deadline) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd waiting{fd, events, 0};
    return left.count() > 0 && ::poll(&waiting, 1, static_cast<int>(left.count())) == 1;
}

// As many bytes as come in time, at most n.
std::string receive(int fd, size_t n, Deadline deadline) {
    std::string bytes;
    std::array<char, 64> part{};
    while (bytes.size() < n && wait_for(fd, POLLIN, deadline)) {
        const ssize_t got = ::recv(fd, part.data(), std::min(part.size(), n - bytes.size()), 0);
        if (got <= 0) {
            break;
        }
        bytes.append(part.data(), static_cast<size_t>(got));
    }
    return bytes;
}

void check_answer(const Endpoint &endpoint, const std::string &answer, size_t n_head,
                  bool is_late) {
    if (answer.empty() && is_late) {
        fail_unanswered(endpoint);
    }
    if (answer.empty()) {
        fail(
            ErrorKind::device,
            "{} closes the connection at the greeting: an RPC server of another version (both ends "
            "need the same llama.cpp), or none",
            endpoint.text());
    }
    if (answer.size() < n_head && is_late) {
        fail(ErrorKind::device,
             "RPC server {} is too slow: {} of the first {} bytes of its answer came in {} s",
             endpoint.text(), answer.size(), n_head, k_usual_time.count());
    }
    uint64_t n_answer = 0;
    std::memcpy(&n_answer, answer.data(), std::min(sizeof(n_answer), answer.size()));
    if (answer.size() < n_head || n_answer > k_n_version + k_n_caps) {
        fail(ErrorKind::device, "{} is no RPC server: it answers something else", endpoint.text());
    }
    const auto *version = reinterpret_cast<const uint8_t *>(answer.data()) + sizeof(n_answer);
    if (version[0] != RPC_PROTO_MAJOR_VERSION || version[1] > RPC_PROTO_MINOR_VERSION ||
        n_answer != k_n_version + k_n_caps) {
        fail(ErrorKind::device,
             "RPC server {} speaks version {}.{}.{} of ggml's protocol, this program {}.{}.{}: "
             "both ends need the same llama.cpp",
             endpoint.text(), version[0], version[1], version[2], RPC_PROTO_MAJOR_VERSION,
             RPC_PROTO_MINOR_VERSION, RPC_PROTO_PATCH_VERSION);
    }
}

}  // namespace

std::string Endpoint::text() const {
    return fmt::format("{}:{}", host, port);
}

Endpoint endpoint_from(const std::string &text, const std::string &list) {
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
             "--rpc {}: found '{}', expected HOST:PORT with a name or IPv4 address, several "
             "separated by commas",
             list, text);
    }
    return endpoint;
}

sockaddr_in address_of(const Endpoint &endpoint) {
    addrinfo hints{};
    hints.ai_family = AF_INET;
    hints.ai_socktype = SOCK_STREAM;
    addrinfo *found = nullptr;
    const int code = ::getaddrinfo(endpoint.host.c_str(), nullptr, &hints, &found);
    const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> owner(found, ::freeaddrinfo);
    if (code != 0) {
        fail(ErrorKind::device, "host {} is not known: {}", endpoint.host, ::gai_strerror(code));
    }
    sockaddr_in address{};
    std::memcpy(&address, found->ai_addr, sizeof(address));
    address.sin_port = htons(static_cast<uint16_t>(endpoint.port));
    return address;
}

bool same_address(const sockaddr_in &a, const sockaddr_in &b) {
    return a.sin_addr.s_addr == b.sin_addr.s_addr && a.sin_port == b.sin_port;
}

const sockaddr *as_sockaddr(const sockaddr_in &address) {
    return reinterpret_cast<const sockaddr *>(&address);
}

Deadline usual_deadline() {
    return std::chrono::steady_clock::now() + k_usual_time;
}

int connect_in_time(int fd, const sockaddr_in &address, Deadline deadline) {
    if (::connect(fd, as_sockaddr(address), sizeof(address)) == 0) {
        return 0;
    }
    if (errno != EINPROGRESS) {
        return errno;
    }
    if (!wait_for(fd, POLLOUT, deadline)) {
        return ETIMEDOUT;
    }
    int code = 0;
    socklen_t size = sizeof(code);
    ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size);
    return code;
}

void greet(const Endpoint &endpoint, const sockaddr_in &address, Deadline deadline) {
    const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    const int code = socket.is_open() ? connect_in_time(socket.fd(), address, deadline) : errno;
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
    constexpr size_t k_n_head = sizeof(uint64_t) + k_n_version - 1;
    const std::string answer = receive(socket.fd(), k_n_head, deadline);
    check_answer(endpoint, answer, k_n_head, std::chrono::steady_clock::now() >= deadline);
    // To its end: a connection that is closed before is an error to the server.
    receive(socket.fd(), 1 + k_n_caps, deadline);
}

void fail_unanswered(const Endpoint &endpoint) {
    fail(ErrorKind::device,
         "RPC server {} does not answer: it has one client at a time (is another using it?), "
         "or it is no RPC server",
         endpoint.text());
}

std::vector<int> open_sockets() {
    std::vector<int> sockets;
    std::error_code ignored;
    for (const auto &entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
        const int fd = std::atoi(entry.path().filename().c_str());
        sockaddr_in address{};
        socklen_t size = sizeof(address);
        if (::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size) == 0 &&
            address.sin_family == AF_INET) {
            sockets.push_back(fd);
        }
    }
    return sockets;
}

void watch_other_end(int fd) {
    const int yes = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof(yes));
#ifdef TCP_KEEPIDLE
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &k_silence_s, sizeof(k_silence_s));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &k_question_s, sizeof(k_question_s));
    ::setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &k_n_questions, sizeof(k_n_questions));
#endif
}

void *rpc_function_named(const char *name) {
    load_backends();
    ggml_backend_reg_t registry = ggml_backend_reg_by_name("RPC");
    void *address =
        registry != nullptr ? ggml_backend_reg_get_proc_address(registry, name) : nullptr;
    if (address == nullptr) {
        fail(ErrorKind::device,
             "this llama.cpp was built without RPC: build it with -DGGML_RPC=ON");
    }
    return address;
}

}  // namespace orthorank
