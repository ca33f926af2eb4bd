// Devices of other machines by ggml's RPC: a client's list of servers. ggml's own answer to a
// server that is not there, speaks another version or goes away is to abort; here the first two are
// found before ggml is asked, and the third ends the program in good order.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace orthorank {

// Ends the program with this message; must not return. Called by any thread.
using OnServerLost = void (*)(const std::string &message);

// Adds the devices of these servers, "HOST:PORT,HOST:PORT", to ggml's: RPC0, RPC1, ... Those of an
// earlier call are left alone. The names are looked up, then each server is greeted and connected
// to, each of this in 5 s. Throws Error{usage} for a list that is none or has a server twice,
// Error{device} for a server that cannot be reached, does not answer, speaks another version or has
// no devices, or where ggml was built without RPC. From then on the connection is this process's
// until it ends, a lost server calls on_lost, and SIGPIPE is ignored: that is how a lost connection
// shows.
void connect_servers(const std::string &list, OnServerLost on_lost);

// Bytes that went over the connections to servers that are open now, by the system's count; nothing
// where there are none, or it does not count.
struct RpcTraffic {
    int64_t sent = 0;
    int64_t received = 0;
};
std::optional<RpcTraffic> rpc_traffic();

}  // namespace orthorank
