#include "model/rpc_endpoint.h"

#include <ggml-backend.h>
#include <ggml-rpc.h>
#include <netdb.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>

#include "base/descriptor.h"
#include "base/error.h"
#include "model/devices.h"

namespace orthorank {

namespace {

constexpr int k_greeting_ms = 5000;
// The greeting of ggml's protocol: a command, a size and 24 bytes that say what the client's end of
// the connection can do (nothing more than TCP); the answer is a size, a version and as much.
constexpr uint8_t k_hello = 14;
constexpr size_t k_n_caps = 24;

// Waits until the socket can be read or written; false when the time is over.
bool wait_for(int fd, short events) {
    pollfd waiting{fd, events, 0};
    return ::poll(&waiting, 1, k_greeting_ms) == 1;
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

}  // namespace

std::string Endpoint::text() const {
    return fmt::format("{}:{}", host, port);
}

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
