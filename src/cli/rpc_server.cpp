// This machine's devices for programs on others.
#include <memory>

#include "base/console.h"
#include "base/hosts.h"
#include "cli/commands.h"
#include "model/rpc_device_server.h"

namespace orthorank {

namespace {

void print_ready(const std::string &endpoint) {
    if (!is_loopback(endpoint)) {
        remark(
            "WARNING: {} IS OPEN TO EVERYBODY WHO REACHES THIS MACHINE. THE PROTOCOL HAS NO "
            "PASSWORD AND NO ENCRYPTION, AND WHO SPEAKS IT CAN READ AND WRITE THIS PROCESS'S "
            "MEMORY: USE IT IN A NETWORK THAT YOU TRUST, OR THROUGH AN SSH TUNNEL.",
            endpoint);
    }
    remark("listening on {}: one client at a time, until Ctrl-C", endpoint);
}

}  // namespace

void add_rpc_server(CLI::App &app, const Argv &) {
    CLI::App &command = *app.add_subcommand(
        "rpc-server", "lend this machine's devices to --rpc of programs on others");
    const auto options = std::make_shared<DeviceServerOptions>();
    command
        .add_option("--host", options->host,
                    "IPv4 address or name to listen on; another than this machine's own is open "
                    "to all who reach it")
        ->capture_default_str()
        ->type_name("HOST");
    command.add_option("--port", options->port, "port to listen on (0: a free one)")
        ->capture_default_str()
        ->check(CLI::Range(0, 65535))
        ->type_name("N");
    command
        .add_option("--device", options->device,
                    "devices to lend, separated by commas (default: all GPUs, or CPU)")
        ->type_name("NAME");
    command
        .add_option("--threads", options->n_threads,
                    "CPU threads (default: one per processor that is granted)")
        ->check(CLI::Range(1, 1024))
        ->type_name("N");
    command
        .add_option("--cache", options->cache_dir,
                    "keep large weights in this folder, so that they are sent once")
        ->type_name("DIR");
    command.callback([options] { serve_devices(*options, print_ready); });
}

}  // namespace orthorank
