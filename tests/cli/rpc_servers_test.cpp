// RPC servers and the commands that use them, over loopback: what is computed, who holds what, and
// servers that are not there, are something else, or go away.
#include <ggml-rpc.h>
#include <gmock/gmock.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <future>
#include <set>
#include <sstream>

#include "support/command_fixture.h"
#include "support/device_server.h"
#include "support/loopback.h"

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
    EXPECT_EQ(found.at("engine").at("kernels"), "ggml's");
    EXPECT_EQ(expected.at("engine").at("kernels"), "exact");
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
    EXPECT_THAT(info["kernels"], testing::StartsWith("fast ("));
}

TEST_F(RpcCommand, BuffersOfTwoServersHadOneName) {
    const DeviceServer first;
    const DeviceServer second;
    const json info = run_json({"info", "--rpc", first.endpoint() + "," + second.endpoint(),
                                "--split", "1,1"})["results"][0];
    std::set<std::string> names;
    for (const json &buffer : info["buffers"]) {
        names.insert(buffer["name"].get<std::string>());
    }
    EXPECT_THAT(names, testing::IsSupersetOf({"RPC0", "RPC1"}));
    EXPECT_THAT(names, testing::Not(testing::Contains(HasSubstr("127."))));
    EXPECT_EQ(info["kernels"], "ggml's");
}

// What a server of this version, three bytes, answers.
std::string greeting(std::string_view version) {
    return std::string(1, 28) + std::string(7, '\0') + std::string(version) + std::string(25, '\0');
}

TEST_F(RpcCommand, ServersThatAreNoneAreOneLine) {
    const auto generate = [](const std::string &servers) {
        return std::vector<std::string>{"generate", "-p", "the", "-n", "2", "--rpc", servers};
    };
    for (const char *list : {"nowhere", "a:b", ":1", "127.0.0.1:0", "127.0.0.1:70000", "::1:5"}) {
        expect_failure(2, "expected HOST:PORT", generate(list));
    }
    expect_failure(2, "--rpc 127.0.0.1:5,: found '', expected HOST:PORT", generate("127.0.0.1:5,"));
    expect_failure(1, "is not known", generate("no-such-host.invalid:5"));
    std::string closed;
    { closed = Stranger("").endpoint(); }
    expect_failure(1, closed + " cannot be reached: ", generate(closed));
    const Stranger old_server(greeting("\x06\x01\x02"));
    expect_failure(1, "speaks version 6.1.2 of ggml's protocol, this program 7",
                   generate(old_server.endpoint()));
    const Stranger web("HTTP/1.1 400 Bad Request\r\n\r\n");
    expect_failure(1, "is no RPC server", generate(web.endpoint()));
    const Stranger closing("");  // as a server whose greeting has another length
    expect_failure(1,
                   closing.endpoint() +
                       " closes the connection at the greeting: an RPC server of "
                       "another version",
                   generate(closing.endpoint()));
}

// 11 bytes of the answer are looked at, which take 7.7 s.
TEST_F(RpcCommand, AServerThatDripsWasGivenTimeForEachByte) {
    const Stranger dripping(greeting("\x06\x01\x02"), 700);
    expect_failure(1, "RPC server " + dripping.endpoint() + " is too slow: ",
                   {"generate", "-p", "the", "-n", "2", "--rpc", dripping.endpoint()});
}

TEST_F(RpcCommand, DevicesAndSharesThatDoNotFitAreOneLine) {
    const DeviceServer server;
    const std::vector<std::string> generate = {"generate",       "-p", "the", "-n", "2", "--rpc",
                                               server.endpoint()};
    expect_failure(1, "'RPC4'", with(generate, {"--device", "RPC4"}));
    expect_failure(2, "found an empty one", with(generate, {"--device", "RPC0,,CPU"}));
    expect_failure(2, "a share for the one device (RPC0), such as 1",
                   with(generate, {"--split", "1,1"}));
    expect_failure(2, "a share for each of the 2 devices (RPC0, CPU)",
                   with(generate, {"--device", "RPC0,CPU", "--split", "1e308,1e308"}));
    expect_failure(2, "--processes 2 does not go with --rpc",
                   {"bench", "--prefill", "8", "--processes", "2", "--rpc", "127.0.0.1:1"});
    expect_failure(
        2, "--roofline measures what this machine's CPU does at most, and layer 1 is on RPC0",
        {"bench", "--prefill", "8", "--roofline", "--rpc", server.endpoint(), "--device",
         "CPU,RPC0", "--split", "1,2"});
}

TEST_F(RpcCommand, AServerOfTwoNamesIsRefused) {
    const DeviceServer server;
    const std::string endpoint = server.endpoint();
    const std::string alias = "localhost" + endpoint.substr(endpoint.find(':'));
    const auto refuse = [&](const std::string &reason, const std::string &second) {
        expect_failure(2, reason,
                       {"generate", "-p", "the", "-n", "2", "--rpc", endpoint + "," + second});
    };
    refuse(endpoint + " is named twice", endpoint);
    refuse(endpoint + " and " + alias + " are the same server", alias);
    // Another address of the server, which only its silence gives away.
    const DeviceServer open({"--host", "0.0.0.0"});
    const std::string port = open.endpoint().substr(open.endpoint().find(':'));
    expect_failure(
        1, "127.0.0.2" + port + " does not answer: it has one client at a time",
        {"generate", "-p", "the", "-n", "2", "--rpc", "127.0.0.1" + port + ",127.0.0.2" + port});
}

// ggml asked for six connections, and waited for each that another client had.
TEST_F(RpcCommand, AConnectionIsKept) {
    const DeviceServer server;
    const Relay relay(server.endpoint());
    EXPECT_EQ(run({"generate", "-p", "the", "-n", "2", "--rpc", relay.endpoint()}).exit_code, 0);
    EXPECT_EQ(relay.n_connections(), 3) << "the greeting, ggml's first, and the one that is kept";
}

TEST_F(RpcCommand, AClientThatComesBehindTheGreetingIsOneLine) {
    const char version[] = {RPC_PROTO_MAJOR_VERSION, RPC_PROTO_MINOR_VERSION,
                            RPC_PROTO_PATCH_VERSION};
    const Stranger busy(greeting({version, sizeof(version)}));
    const RunningProgram program(ORTHORANK_PROGRAM, {"generate", "-m", model_, "-p", "the", "-n",
                                                     "2", "--rpc", busy.endpoint()});
    EXPECT_TRUE(program.says(busy.endpoint() + " does not answer: it has one client at a time"));
}

TEST_F(RpcCommand, OfTwoClientsAtOnceNoneHangs) {
    const DeviceServer server;
    const std::string endpoint = server.endpoint();
    const auto client = [&] {
        return run_program("/usr/bin/timeout",
                           {"60", ORTHORANK_PROGRAM, "generate", "-m", model_, "--threads", "1",
                            "-p", "the", "-n", "2", "--rpc", endpoint});
    };
    std::future<ProgramResult> other = std::async(std::launch::async, client);
    const ProgramResult results[] = {client(), other.get()};
    int n_served = 0;
    for (const ProgramResult &result : results) {
        n_served += result.exit_code == 0 ? 1 : 0;
        if (result.exit_code != 0) {
            EXPECT_EQ(result.exit_code, 1);
            EXPECT_THAT(result.err, HasSubstr("it has one client at a time"));
        }
    }
    EXPECT_GT(n_served, 0);
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
    {
        const Descriptor rude = connected_to(server.endpoint());
        const std::string hello = std::string("\x0e\x18", 2) + std::string(31, '\0');
        EXPECT_EQ(write_all(rude.fd(), hello), 0);
        pollfd waiting{rude.fd(), POLLIN, 0};
        EXPECT_EQ(::poll(&waiting, 1, 10000), 1);  // and goes, the answer unread
    }
    EXPECT_EQ(run(command).exit_code, 0);
    EXPECT_THAT(server.err(), testing::Not(HasSubstr("recv failed")));
}

// The embedding, which is the head too, is the default model's one tensor of more than 10 MiB.
TEST_F(RpcCommand, ASecondLoadSendsAHashInPlaceOfLargeWeights) {
    if (!has_default_model()) {
        GTEST_SKIP() << "no default model at " << default_model_path();
    }
    const std::filesystem::path cache = dir_.path() / "cache";
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

TEST_F(RpcCommand, TheCachesLastFolderIsMade) {
    const DeviceServer server({"--cache", dir_.file("cache")});
    EXPECT_THAT(server.endpoint(), HasSubstr("127."));
    EXPECT_TRUE(std::filesystem::is_directory(dir_.file("cache")));
    const ProgramResult result =
        run_program(ORTHORANK_PROGRAM, {"rpc-server", "--port", "0", "--cache", dir_.file("a/b")});
    EXPECT_EQ(result.exit_code, 1);
    EXPECT_THAT(result.err, HasSubstr("the folder cannot be made: No such file or directory"));
}

}  // namespace
}  // namespace orthorank::test
