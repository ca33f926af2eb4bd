// RPC servers and the commands that use them, over loopback: what is computed, who holds what, and
// servers that are not there, are something else, or go away.
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <sstream>
#include <string_view>
#include <thread>

#include "base/descriptor.h"
#include "support/command_fixture.h"
#include "support/device_server.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;

class RpcCommand : public TextCommandTest {
 protected:
    static std::vector<std::string> with(std::vector<std::string> arguments,
                                         const std::vector<std::string> &more) {
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
};

TEST_F(RpcCommand, EvaluationIsWhatItIsOnOneDevice) {
    const DeviceServer first;
    const DeviceServer second;
    const std::vector<std::string> command = {"perplexity", "-f",        text(), "--ctx",
                                              "16",         "--plan",    plan_,  "--kernels",
                                              "exact",      "--kv-type", "f32"};
    const json expected = run_json(with(command, {"--device", "CPU"}));
    const json found = run_json(
        with(command, {"--rpc", first.endpoint() + "," + second.endpoint(), "--split", "1,2"}));
    ASSERT_EQ(found.at("results").size(), 2u);
    for (size_t i = 0; i < 2; ++i) {
        const double perplexity = expected.at("results").at(i).at("ppl");
        EXPECT_NEAR(found.at("results").at(i).at("ppl").get<double>(), perplexity,
                    1e-5 * perplexity);
    }
    EXPECT_EQ(found.at("engine").at("device"), "RPC0, RPC1");
}

TEST_F(RpcCommand, InfoSaysWhoHoldsWhat) {
    const DeviceServer server;
    const json info = run_json({"info", "--rpc", server.endpoint(), "--device", "CPU,RPC0",
                                "--split", "1,2", "--ctx", "256"})["results"][0];
    ASSERT_EQ(info["shares"].size(), 2u);
    EXPECT_EQ(info["shares"][0]["device"], "RPC0");
    EXPECT_EQ(info["shares"][0]["layers"], (std::vector{1, 2}));
    EXPECT_EQ(info["shares"][1]["layers"], (std::vector{0}));
    // Keys and values of 64 numbers in F16, 256 cells.
    EXPECT_EQ(info["shares"][1]["kv_bytes"], 2 * 64 * 2 * 256);
    int64_t of_buffers = 0;
    for (const json &buffer : info["buffers"]) {
        of_buffers += buffer["bytes"].get<int64_t>();
    }
    EXPECT_EQ(info["shares"][0]["weight_bytes"].get<int64_t>() +
                  info["shares"][1]["weight_bytes"].get<int64_t>(),
              of_buffers);
    const auto is_remote = [](const json &device) { return device["name"] == "RPC0"; };
    const auto remote = std::find_if(info["devices"].begin(), info["devices"].end(), is_remote);
    ASSERT_NE(remote, info["devices"].end());
    EXPECT_GT((*remote)["bytes_total"].get<int64_t>(), 0);
    EXPECT_EQ((*remote)["description"], server.endpoint());
}

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    return address;
}

// On a free port of this machine, until it is destroyed.
class Listener {
 public:
    Listener() : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
        sockaddr_in address = loopback(0);
        auto *plain = reinterpret_cast<sockaddr *>(&address);
        socklen_t size = sizeof(address);
        EXPECT_EQ(::bind(socket_.fd(), plain, size), 0);
        EXPECT_EQ(::listen(socket_.fd(), 1), 0);
        EXPECT_EQ(::getsockname(socket_.fd(), plain, &size), 0);
        endpoint_ = "127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    }
    const std::string &endpoint() const { return endpoint_; }
    // Not open when stop() was called.
    Descriptor accept() const { return Descriptor(::accept(socket_.fd(), nullptr, nullptr)); }
    void stop() const { ::shutdown(socket_.fd(), SHUT_RDWR); }

 private:
    Descriptor socket_;
    std::string endpoint_;
};

Descriptor connected_to(const std::string &endpoint) {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM, 0));
    const sockaddr_in address = loopback(std::stoi(endpoint.substr(endpoint.find(':') + 1)));
    EXPECT_EQ(::connect(socket.fd(), reinterpret_cast<const sockaddr *>(&address), sizeof(address)),
              0);
    return socket;
}

// Answers whoever comes with these bytes.
class Stranger {
 public:
    explicit Stranger(std::string answer) {
        thread_ = std::thread([this, answer = std::move(answer)] {
            const Descriptor client = listener_.accept();
            char hello[33];
            ::recv(client.fd(), hello, sizeof(hello), MSG_WAITALL);
            ::send(client.fd(), answer.data(), answer.size(), MSG_NOSIGNAL);
            ::shutdown(client.fd(), SHUT_WR);
            ::recv(client.fd(), hello, 1, 0);
        });
    }
    ~Stranger() {
        listener_.stop();
        thread_.join();
    }
    const std::string &endpoint() const { return listener_.endpoint(); }

 private:
    Listener listener_;
    std::thread thread_;
};

// Between a client and a server, one connection after another: counts what goes to the server.
class Relay {
 public:
    explicit Relay(std::string server) {
        thread_ = std::thread([this, server = std::move(server)] {
            for (;;) {
                const Descriptor client = listener_.accept();
                if (!client.is_open()) {
                    return;
                }
                pass(client, connected_to(server));
            }
        });
    }
    ~Relay() {
        listener_.stop();
        thread_.join();
    }
    const std::string &endpoint() const { return listener_.endpoint(); }
    int64_t n_sent() const { return n_sent_; }

 private:
    // Until one of them ends.
    void pass(const Descriptor &client, const Descriptor &server) {
        std::vector<char> part(1 << 20);
        pollfd ends[] = {{client.fd(), POLLIN, 0}, {server.fd(), POLLIN, 0}};
        while (::poll(ends, 2, -1) > 0) {
            for (const bool is_client : {true, false}) {
                if (ends[is_client ? 0 : 1].revents == 0) {
                    continue;
                }
                const int from = is_client ? client.fd() : server.fd();
                const ssize_t n = ::recv(from, part.data(), part.size(), 0);
                if (n <= 0) {
                    return;
                }
                n_sent_ += is_client ? n : 0;
                const std::string_view bytes(part.data(), static_cast<size_t>(n));
                if (write_all(is_client ? server.fd() : client.fd(), bytes) != 0) {
                    return;
                }
            }
        }
    }

    Listener listener_;
    std::atomic<int64_t> n_sent_ = 0;
    std::thread thread_;
};

TEST_F(RpcCommand, ServersThatAreNoneAreOneLine) {
    const auto generate = [](const std::string &servers) {
        return std::vector<std::string>{"generate", "-p", "the", "-n", "2", "--rpc", servers};
    };
    for (const char *list : {"nowhere", "a:b", ":1", "127.0.0.1:0", "127.0.0.1:70000", "::1:5"}) {
        expect_failure(2, "expected HOST:PORT", generate(list));
    }
    expect_failure(1, "is not known", generate("no-such-host.invalid:5"));
    std::string closed;
    { closed = Stranger("").endpoint(); }
    expect_failure(1, closed + " cannot be reached: ", generate(closed));
    std::string old(8, '\0');
    old[0] = 28;
    old += std::string("\x06\x01\x02", 3) + std::string(25, '\0');
    const Stranger old_server(old);
    expect_failure(1, "speaks version 6.1.2 of ggml's protocol, this program 7",
                   generate(old_server.endpoint()));
    const Stranger web("HTTP/1.1 400 Bad Request\r\n\r\n");
    expect_failure(1, "is no RPC server", generate(web.endpoint()));
    const Stranger silent("");
    expect_failure(1, "does not answer", generate(silent.endpoint()));
    const DeviceServer server;
    expect_failure(1, "'RPC4'", with(generate(server.endpoint()), {"--device", "RPC4"}));
    expect_failure(2, "a share for each of the 1 devices (RPC0)",
                   with(generate(server.endpoint()), {"--split", "1,1"}));
}

TEST_F(RpcCommand, ABusyServerIsOneLineUntilItsClientHasGone) {
    const DeviceServer server;
    const std::vector<std::string> command = {"generate",       "-p", "the", "-n", "2", "--rpc",
                                              server.endpoint()};
    {
        const Descriptor other = connected_to(server.endpoint());
        expect_failure(1, server.endpoint() + " does not answer: it has one client at a time",
                       command);
    }
    EXPECT_EQ(run(command).exit_code, 0);
}

// The embedding, which is the head too, is the default model's one tensor of more than 10 MiB.
TEST_F(RpcCommand, ASecondLoadSendsAHashInPlaceOfLargeWeights) {
    if (!has_default_model()) {
        GTEST_SKIP() << "no default model at " << default_model_path();
    }
    const std::filesystem::path cache = dir_.path() / "cache";
    std::filesystem::create_directory(cache);
    const DeviceServer server({"--cache", cache.string()});
    const Relay relay(server.endpoint());
    const auto generate = [&] {
        const ProgramResult result = run_program(
            ORTHORANK_PROGRAM, {"generate", "-m", default_model_path(), "-p", "Once upon a time",
                                "-n", "3", "--temp", "0", "--rpc", relay.endpoint()});
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return result.out;
    };
    const std::string first = generate();
    const int64_t n_first = relay.n_sent();
    int64_t n_kept = 0;
    for (const auto &entry : std::filesystem::directory_iterator(cache)) {
        n_kept += static_cast<int64_t>(entry.file_size());
    }
    EXPECT_GT(n_kept, 10 << 20);
    EXPECT_EQ(generate(), first);
    const int64_t n_second = relay.n_sent() - n_first;
    EXPECT_NEAR(static_cast<double>(n_first - n_second), static_cast<double>(n_kept), 4096);
}

TEST_F(RpcCommand, AServerThatIsLostEndsTheWorkInGoodOrder) {
    const DeviceServer server;
    std::filesystem::create_directory(dir_.path() / "piqa");
    std::string goals;
    std::string labels;
    for (int i = 0; i < 2000; ++i) {
        goals += R"({"goal": "go )" + std::string(200, 'a') +
                 R"(", "sol1": "the dog sleeps", "sol2": "a fox"})" + "\n";
        labels += "0\n";
    }
    write_bytes(dir_.file("piqa/valid.jsonl"), goals);
    write_bytes(dir_.file("piqa/valid-labels.lst"), labels);
    const std::string samples = dir_.file("samples.jsonl");
    const std::string result = dir_.file("result.json");
    RunningProgram program(
        ORTHORANK_PROGRAM,
        {"eval", "-m", model_, "--threads", "1", "--tasks", "piqa", "--data", dir_.path().string(),
         "--samples", samples, "--json", result, "--rpc", server.endpoint()});
    std::error_code none_yet;
    for (int i = 0; i < 6000 && std::filesystem::file_size(samples, none_yet) + 1 < 2; ++i) {
        ::usleep(5000);
    }
    const std::string endpoint = server.endpoint();
    server.kill();
    const ProgramResult ended = program.wait();
    EXPECT_EQ(ended.exit_code, 1) << ended.err;
    EXPECT_THAT(ended.err, HasSubstr("orthorank: RPC server " + endpoint + " was lost"));
    EXPECT_THAT(ended.err, testing::Not(HasSubstr("ggml")));
    EXPECT_FALSE(std::filesystem::exists(result));
    std::istringstream lines(read_bytes(samples));
    int n_lines = 0;
    for (std::string line; std::getline(lines, line); ++n_lines) {
        EXPECT_FALSE(json::parse(line, nullptr, false).is_discarded()) << line;
    }
    EXPECT_GT(n_lines, 0);
    EXPECT_LT(n_lines, 2000);
}

TEST_F(RpcCommand, AServerSaysWhatItOpens) {
    const DeviceServer open({"--host", "0.0.0.0"});
    EXPECT_THAT(open.endpoint(), HasSubstr("0.0.0.0:"));
    EXPECT_THAT(open.err(), HasSubstr("IS OPEN TO EVERYBODY"));
    const DeviceServer server;
    const std::string endpoint = server.endpoint();
    EXPECT_THAT(server.err(), testing::Not(HasSubstr("WARNING")));
    const std::string port = endpoint.substr(endpoint.find(':') + 1);
    const ProgramResult taken = run_program(ORTHORANK_PROGRAM, {"rpc-server", "--port", port});
    EXPECT_EQ(taken.exit_code, 1);
    EXPECT_THAT(taken.err, HasSubstr("cannot listen on 127.0.0.1:" + port));
}

}  // namespace
}  // namespace orthorank::test
