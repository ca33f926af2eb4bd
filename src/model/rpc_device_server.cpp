#include "model/rpc_device_server.h"

#include <arpa/inet.h>
#include <ggml-rpc.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/threads.h"
#include "model/devices.h"
#include "model/rpc_cache.h"
#include "model/rpc_endpoint.h"

namespace orthorank {

namespace {

constexpr int k_pause_ms = 5;

// A client that leaves without a word is none, though ggml says so.
void print_errors(ggml_log_level level, const char *text, void *) {
    const bool is_error = level == GGML_LOG_LEVEL_ERROR || level == GGML_LOG_LEVEL_WARN;
    if (is_error && std::strstr(text, "recv failed (bytes_recv=0, size_to_recv=1)") == nullptr) {
        std::fputs(text, stderr);
    }
}

// So that a client whose machine vanishes makes room for the next.
void watch_clients(const sockaddr_in &listening) {
    for (const int fd : open_sockets()) {
        sockaddr_in address{};
        socklen_t size = sizeof(address);
        ::getsockname(fd, reinterpret_cast<sockaddr *>(&address), &size);
        if (same_address(address, listening)) {
            watch_other_end(fd);
        }
    }
}

// ggml does not say when it listens, and prepares its devices first: greets it until it answers or
// has ended.
void announce(const Endpoint &endpoint, const std::atomic<bool> &has_ended,
              const std::function<void(const std::string &)> &on_ready) {
    const sockaddr_in address = address_of(endpoint);
    while (!has_ended) {
        try {
            greet(endpoint, address, usual_deadline());
            watch_clients(address);
            on_ready(endpoint.text());
            return;
        } catch (const Error &) {
            std::this_thread::sleep_for(std::chrono::milliseconds(k_pause_ms));
        }
    }
}

// A client asks for any operation: one that a device does not compute ends the server.
void check_devices(const std::vector<ggml_backend_dev_t> &devices) {
    constexpr Heads k_usual_heads = {.width = 64, .n_query = 8, .n_key = 8};
    for (ggml_backend_dev_t device : devices) {
        if (!computes_attention(device, k_usual_heads, GGML_TYPE_F16)) {
            fail(ErrorKind::device,
                 "{} cannot be lent: its back end computes no attention (was it built without?)",
                 ggml_backend_dev_name(device));
        }
    }
}

Endpoint free_endpoint(const Endpoint &wanted) {
    sockaddr_in address = address_of(wanted);
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

void serve_devices(const DeviceServerOptions &options,
                   const std::function<void(const std::string &)> &on_ready) {
    const auto start_server =
        rpc_function<decltype(&ggml_backend_rpc_start_server)>("ggml_backend_rpc_start_server");
    std::vector<ggml_backend_dev_t> devices = choose_devices(options.device);
    check_devices(devices);
    if (!options.cache_dir.empty()) {
        prepare_rpc_cache(options.cache_dir);
    }
    const Endpoint endpoint = free_endpoint({options.host, options.port});
    std::signal(SIGPIPE, SIG_IGN);  // a client that went away
    ggml_log_set(print_errors, nullptr);
    std::atomic<bool> has_ended = false;
    std::thread announcer([&] { announce(endpoint, has_ended, on_ready); });
    const int n_threads = options.n_threads > 0 ? options.n_threads : default_n_threads();
    start_server(endpoint.text().c_str(),
                 options.cache_dir.empty() ? nullptr : options.cache_dir.c_str(),
                 static_cast<size_t>(n_threads), devices.size(), devices.data());
    has_ended = true;
    announcer.join();
    fail(ErrorKind::device, "the server on {} ended: see above", endpoint.text());
}

}  // namespace orthorank
