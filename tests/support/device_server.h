// An RPC server over loopback, for tests of devices that are not the CPU.
#pragma once

#include <gtest/gtest.h>

#include <csignal>
#include <regex>
#include <string>
#include <vector>

#include "support/program.h"

namespace orthorank::test {

// `orthorank rpc-server` lending the CPU on a free port of this machine. It ends with this object.
class DeviceServer {
 public:
    // more: arguments that come last.
    explicit DeviceServer(const std::vector<std::string> &more = {})
        : program_(ORTHORANK_BINARY_DIR "/orthorank", arguments(more)) {}

    // "127.0.0.1:PORT"
    std::string endpoint() const {
        static const std::regex pattern("listening on ([0-9.]+:[0-9]+):");
        EXPECT_TRUE(program_.says("listening on ")) << program_.err();
        const std::string text = program_.err();
        std::smatch match;
        EXPECT_TRUE(std::regex_search(text, match, pattern)) << text;
        return match.empty() ? "" : match[1].str();
    }
    void kill() const { program_.send_signal(SIGKILL); }
    std::string err() const { return program_.err(); }

 private:
    static std::vector<std::string> arguments(const std::vector<std::string> &more) {
        std::vector<std::string> all = {"rpc-server", "--port",    "0", "--device",
                                        "CPU",        "--threads", "1"};
        all.insert(all.end(), more.begin(), more.end());
        return all;
    }
    RunningProgram program_;
};

}  // namespace orthorank::test
