// Where an RPC server of ggml's listens, and what is said to it before ggml is: whose own answer to
// a server that is not there, or speaks another version, is to abort. Stateless, thread-safe.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <string>

namespace orthorank {

struct Endpoint {
    std::string host;
    int port = 0;

    // "HOST:PORT"
    std::string text() const;
};

// Throws Error{usage} for another text than HOST:PORT.
Endpoint endpoint_from(const std::string &text);

// The IPv4 address of a host; ggml's sockets know no others. Throws Error{device}.
sockaddr_in address_of(const std::string &host, int port);
const sockaddr *as_sockaddr(const sockaddr_in &address);

// 0, or the errno of a connection that could not be made in a few seconds.
int connect_in_time(int fd, const sockaddr_in &address);

// Greets the server as ggml will, and goes away: it has one client at a time. Throws Error{device}
// for one that cannot be reached, does not answer, is no RPC server or speaks another version.
void greet(const Endpoint &endpoint);

// A function that ggml's RPC back end gives away by this name, or nullptr; the back end may be a
// module. Throws Error{device} where ggml was built without RPC.
void *rpc_function_named(const char *name);

template <typename Function>
Function rpc_function(const char *name) {
    return reinterpret_cast<Function>(rpc_function_named(name));
}

}  // namespace orthorank
