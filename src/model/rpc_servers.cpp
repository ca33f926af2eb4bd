#include "model/rpc_servers.h"

#include <ggml-rpc.h>
#ifdef __linux__
#include <linux/tcp.h>
#endif
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <mutex>
#include <thread>
#include <vector>

#include "base/descriptor.h"
#include "base/error.h"
#include "base/strings.h"
#include "model/rpc_endpoint.h"

namespace orthorank {

namespace {

constexpr int k_end_ms = 300;

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

}  // namespace orthorank
