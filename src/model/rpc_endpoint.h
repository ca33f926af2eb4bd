// Where an RPC server of ggml's listens, and what is said to it before ggml is: whose own answer to
// a server that is not there, or speaks another version, is to abort. Stateless, thread-safe.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace orthorank {

struct Endpoint {
    std::string host;
    int port = 0;

    // "HOST:PORT"
    std::string text() const;
};

// Throws Error{usage} for another text than HOST:PORT; `list` is what it was found in.
Endpoint endpoint_from(const std::string &text, const std::string &list);

// The IPv4 address of a host; ggml's sockets know no others. Throws Error{device}.
sockaddr_in address_of(const Endpoint &endpoint);
bool same_address(const sockaddr_in &a, const sockaddr_in &b);
const sockaddr *as_sockaddr(const sockaddr_in &address);

using Deadline = std::chrono::steady_clock::time_point;
// What a server, or whoever knows its address, has for an answer: 5 s from now.
Deadline usual_deadline();

// What the work returns or throws; nothing when the deadline comes first. Work that waits for
// others cannot be interrupted: it is then left in a thread of its own, and must own what it uses.
template <typename Work>
auto in_time(Deadline deadline, Work work) -> std::optional<decltype(work())> {
    std::packaged_task<decltype(work())()> task(std::move(work));
    auto result = task.get_future();
    std::thread(std::move(task)).detach();
    if (result.wait_until(deadline) != std::future_status::ready) {
        return {};
    }
    return result.get();
}

// 0, or the errno of a connection that could not be made before the deadline.
int connect_in_time(int fd, const sockaddr_in &address, Deadline deadline);

// Greets the server as ggml will, and goes away: it has one client at a time. Throws Error{device}
// for one that cannot be reached or does not answer before the deadline, is no RPC server, or
// speaks another version.
void greet(const Endpoint &endpoint, const sockaddr_in &address, Deadline deadline);
// How it throws for a server that does not answer at all.
[[noreturn]] void fail_unanswered(const Endpoint &endpoint);

// The IPv4 sockets of this process, where the system lists them (Linux).
std::vector<int> open_sockets();
// Has the system ask the other end, once the connection is silent for 15 s, whether it is there:
// without an answer the connection is closed within 15 s more. What a listening socket accepts
// later has the same. Not TCP_USER_TIMEOUT, which also ends a connection to a server that is there,
// but computes and reads nothing for as long.
void watch_other_end(int fd);

// A function that ggml's RPC back end gives away by this name; the back end may be a module. Throws
// Error{device} where ggml was built without RPC.
void *rpc_function_named(const char *name);

template <typename Function>
Function rpc_function(const char *name) {
    return reinterpret_cast<Function>(rpc_function_named(name));
}

}  // namespace orthorank
