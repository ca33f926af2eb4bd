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
#include <cstring>
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

struct Server {
    Endpoint endpoint;
    sockaddr_in address{};
    // ggml keeps a connection as long as somebody uses it, and opens another one afterwards: for
    // which the server may have another client by then. This one is used for good.
    ggml_backend_t held = nullptr;
};

// Of this process: ggml's registry, its callback and the signals are the process's too.
struct Connected {
    std::mutex mutex;
    std::vector<Server> servers;
    OnServerLost on_lost = nullptr;
};

// Never destroyed: ggml's thread of a connection may be at work until the process ends.
Connected &connected() {
    static Connected &servers = *new Connected;
    return servers;
}

// Those that refuse a connection; a server that lives takes it, though it is busy with us.
std::string lost_servers() {
    std::string gone;
    for (const Server &server : connected().servers) {
        const Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (connect_in_time(socket.fd(), server.address, usual_deadline()) != 0) {
            gone += (gone.empty() ? "" : ", ") + server.endpoint.text();
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

// The servers of a list, with their addresses; each once.
std::vector<Server> servers_from(const std::string &list) {
    std::vector<Server> servers;
    for (const std::string &text : split_at(list, ',')) {
        servers.push_back({endpoint_from(text, list)});
    }
    const Deadline deadline = usual_deadline();
    for (auto server = servers.begin(); server != servers.end(); ++server) {
        const std::optional<sockaddr_in> address =
            in_time(deadline, [endpoint = server->endpoint] { return address_of(endpoint); });
        if (!address) {
            fail(ErrorKind::device, "host {} is not known: no answer", server->endpoint.host);
        }
        server->address = *address;
        const auto first = std::find_if(servers.begin(), server, [&](const Server &other) {
            return same_address(other.address, *address);
        });
        if (first != server) {
            const std::string a = first->endpoint.text();
            const std::string b = server->endpoint.text();
            fail(ErrorKind::usage, "--rpc {}: {}", list,
                 a == b ? fmt::format("{} is named twice", a)
                        : fmt::format("{} and {} are the same server", a, b));
        }
    }
    return servers;
}

// Of our ends of the connections to servers.
std::vector<int> client_sockets(const std::vector<Server> &servers) {
    std::vector<int> sockets;
    for (const int fd : open_sockets()) {
        sockaddr_in peer{};
        socklen_t size = sizeof(peer);
        if (::getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &size) == 0 &&
            std::any_of(servers.begin(), servers.end(), [&](const Server &server) {
                return server.address.sin_port == peer.sin_port;
            })) {
            sockets.push_back(fd);
        }
    }
    return sockets;
}

using AddServer = decltype(&ggml_backend_rpc_add_server);

// ggml connects twice, the second time for good. Between the greeting and that another client may
// have come first: then ggml waits until that one has gone.
ggml_backend_t connect_for_good(const Endpoint &endpoint, AddServer add_server) {
    const std::optional<ggml_backend_t> backend =
        in_time(usual_deadline(), [add_server, text = endpoint.text()]() -> ggml_backend_t {
            ggml_backend_reg_t registry = add_server(text.c_str());
            return registry == nullptr
                       ? nullptr
                       : ggml_backend_dev_init(ggml_backend_reg_dev_get(registry, 0), nullptr);
        });
    if (!backend) {
        fail_unanswered(endpoint);
    }
    if (*backend == nullptr) {
        fail(ErrorKind::device, "RPC server {} has no devices", endpoint.text());
    }
    ggml_backend_register(add_server(endpoint.text().c_str()));  // the one that is known by now
    return *backend;
}

}  // namespace

void connect_servers(const std::string &list, OnServerLost on_lost) {
    CHECK(on_lost != nullptr);
    Connected &known = connected();
    const std::scoped_lock lock(known.mutex);
    const std::vector<Server> wanted = servers_from(list);
    const auto add_server = rpc_function<AddServer>("ggml_backend_rpc_add_server");
    known.on_lost = on_lost;
    ggml_set_abort_callback(on_ggml_abort);
    std::signal(SIGPIPE, SIG_IGN);
    for (const Server &server : wanted) {
        const auto is_it = [&](const Server &other) {
            return same_address(other.address, server.address);
        };
        if (std::any_of(known.servers.begin(), known.servers.end(), is_it)) {
            continue;
        }
        greet(server.endpoint, server.address, usual_deadline());
        known.servers.push_back(server);
        try {
            known.servers.back().held = connect_for_good(server.endpoint, add_server);
        } catch (...) {
            known.servers.pop_back();
            throw;
        }
        for (const int fd : client_sockets(known.servers)) {
            watch_other_end(fd);
        }
    }
}

#ifdef __linux__
std::optional<RpcTraffic> rpc_traffic() {
    Connected &known = connected();
    const std::scoped_lock lock(known.mutex);
    std::optional<RpcTraffic> sum;
    for (const int fd : client_sockets(known.servers)) {
        tcp_info info{};
        socklen_t size = sizeof(info);
        if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) {
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
