// This machine's devices for programs on others, by ggml's RPC.
#pragma once

#include <functional>
#include <string>

namespace orthorank {

struct DeviceServerOptions {
    std::string host = "127.0.0.1";  // an address or name of this machine
    int port = 50052;                // 0: a free one
    std::string device;              // as choose_devices() takes it
    int n_threads = 0;               // of a CPU; 0: default_n_threads()
    std::string cache_dir;  // keeps large weights for the next client; made; empty: nowhere
};

// Serves these devices, one client after another, until the process ends. Once it answers, another
// thread calls on_ready with "ADDRESS:PORT". Throws Error{device} when that cannot be had,
// Error{file} without the cache's folder.
[[noreturn]] void serve_devices(const DeviceServerOptions &options,
                                const std::function<void(const std::string &)> &on_ready);

}  // namespace orthorank
