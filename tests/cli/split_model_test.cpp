// Layers on the devices of RPC servers, over loopback, in one process: what one device computes,
// several compute.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "engine/engine.h"
#include "graph/operation_profiler.h"
#include "model/devices.h"
#include "model/layer_split.h"
#include "model/rpc_endpoint.h"
#include "model/rpc_servers.h"
#include "support/compare.h"
#include "support/device_server.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/model_runs.h"
#include "timing/weight_choice.h"

namespace orthorank::test {
namespace {

using testing::ElementsAre;

// Exact kernels on the CPU: a server computes the same, but for how graphs are cut.
constexpr double k_rounding = 1e-9;

[[noreturn]] void end_test(const std::string &message) {
    std::fprintf(stderr, "%s\n", message.c_str());
    ::_exit(1);
}

// RPC0 and RPC1, of the whole process: ggml forgets no device.
class SplitModel : public testing::Test {
 protected:
    static void SetUpTestSuite() {
        servers_ = std::make_unique<std::array<DeviceServer, 2>>();
        connect_servers((*servers_)[0].endpoint() + "," + (*servers_)[1].endpoint(), end_test);
    }
    static void TearDownTestSuite() { servers_.reset(); }

    static std::unique_ptr<Model> load(const std::string &path, const std::string &devices,
                                       const std::string &split) {
        ModelOptions options;
        options.device = devices;
        options.split = split;
        options.use_mmap = false;
        return Model::load(path, options);
    }

    // The port of a server.
    static int port_of(int server) {
        const std::string endpoint = (*servers_)[static_cast<size_t>(server)].endpoint();
        return std::stoi(endpoint.substr(endpoint.find(':') + 1));
    }

    TempDir dir_;
    std::string path(const TinyModel &tiny) const {
        write_tiny_gguf(tiny, dir_.file("m.gguf"));
        return dir_.file("m.gguf");
    }

 private:
    static inline std::unique_ptr<std::array<DeviceServer, 2>> servers_;
};

TEST_F(SplitModel, ComputesWhatOneDeviceDoesHoweverItIsSplit) {
    struct Split {
        std::string devices;
        std::string shares;
    };
    for (const TinyModel &tiny : {tiny_llama_rope(), tiny_mixtral(), tiny_architecture("gemma3")}) {
        const std::string file = path(tiny);
        const auto one = load_on_cpu(file);
        const Plan plan = selecting_plan(*one, "orthogonal");
        EngineOptions options = test_options();
        options.chunk_rows = 37;
        const Given expected = run_all(*one, plan, options, Apply::both);
        const Given dense =
            run_all(*one, dense_plan(one->hparams().n_layers), options, Apply::both);
        for (const Split &split : {Split{"RPC0,RPC1", "2,1"}, Split{"RPC1", "none"},
                                   Split{"CPU,RPC0", "1,2"}, Split{"RPC1,CPU,RPC0", "1,1,1"}}) {
            SCOPED_TRACE(tiny.name + " " + split.devices + " " + split.shares);
            const auto model = load(file, split.devices, split.shares);
            EXPECT_EQ(model->split().is_split(), split.shares != "none");
            expect_same(run_all(*model, plan, options, Apply::both), expected, k_rounding);
            expect_same(run_all(*model, dense_plan(one->hparams().n_layers), options, Apply::both),
                        dense, k_rounding);
        }
    }
}

// Rows of the layers' embeddings are taken where the tables are; keys are read where they were
// made.
TEST_F(SplitModel, LayersWithoutKeysStayWithThoseTheyRead) {
    const std::string file = path(tiny_architecture("gemma4e"));
    const auto one = load_on_cpu(file);
    for (const char *devices : {"RPC0,RPC1", "RPC0,CPU", "CPU,RPC1"}) {
        SCOPED_TRACE(devices);
        const auto model = load(file, devices, "1,4");
        EXPECT_TRUE(model->split().is_split());
        for (const Plan &plan : {dense_plan(8), selecting_plan(*one, "orthogonal")}) {
            expect_same(run_all(*model, plan, test_options(), Apply::both),
                        run_all(*one, plan, test_options(), Apply::both), k_rounding);
        }
    }
    expect_error(
        ErrorKind::usage,
        "--split puts layer 3 on RPC0, and layer 6, which reads its keys, on CPU: give the "
        "layers from 3 on to one device",
        [&] { load(file, "RPC0,CPU", "6,2"); });
}

TEST_F(SplitModel, EveryPolicyPicksTheSameRows) {
    const std::string file = path(tiny_llama_gqa_tied());
    const auto one = load_on_cpu(file);
    const auto model = load(file, "RPC0,RPC1", "1,2");
    for (const std::string_view name : policy_names()) {
        SCOPED_TRACE(name);
        const auto [plan, apply] = policy_run(*one, std::string(name));
        expect_same(run_all(*model, plan, test_options(), apply),
                    run_all(*one, plan, test_options(), apply), k_rounding);
    }
}

// Our own kernels in the CPU's layers alone, a half-precision cache, and quantised weights.
TEST_F(SplitModel, TheCpusOwnKernelsStayOnTheCpu) {
    TinyModel tiny = widened(tiny_qwen3());
    tiny.weight_type = GGML_TYPE_Q8_0;
    const std::string file = path(tiny);
    const auto one = load_on_cpu(file);
    const auto model = load(file, "RPC0,CPU", "1,1");
    EngineOptions options = test_options();
    options.kernels = Kernels::fast;
    options.kv_type = KvType::f16;
    const Plan plan = dense_plan(one->hparams().n_layers);
    expect_same(run_all(*model, plan, options, Apply::both),
                run_all(*one, plan, options, Apply::both), k_nmse_quantised);
}

TEST_F(SplitModel, BatchesAreWhatTheyAreOnOneDevice) {
    const std::string file = path(tiny_llama());
    const auto one = load_on_cpu(file);
    const auto model = load(file, "RPC0,RPC1", "1,1");
    const std::vector<Logits> expected = run_together(*one);
    const std::vector<Logits> found = run_together(*model);
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_TRUE(nmse_below(k_rounding, found[i], expected[i])) << i;
    }
}

// Hidden states can be taken and given at every boundary, also those between devices.
TEST_F(SplitModel, PassesStopAndGoOnAtEveryLayer) {
    const std::string file = path(tiny_llama());
    const auto model = load(file, "RPC0,RPC1", "2,1");
    const Plan plan = select_plan(3, {2}, 0.5);
    for (int layer = 0; layer <= 3; ++layer) {
        const StoppedRun runs = stop_and_go_on(*model, test_options(), plan, layer);
        EXPECT_TRUE(same_bits(runs.resumed, runs.straight)) << layer;
    }
}

// A server forgets its graphs whenever a buffer is freed, whoever freed it.
TEST_F(SplitModel, KeptGraphsOutliveBuffersThatAreFreed) {
    const std::string file = path(tiny_llama());
    const auto model = load(file, "RPC0", "none");
    EngineOptions options = test_options();
    options.n_sequences = 2;
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(dense_plan(3));
    run(engine, sequence, random_tokens(20, 1));
    run_steps(engine, sequence, random_tokens(3, 2));
    { const Engine other(*model, test_options()); }
    EXPECT_EQ(run_steps(engine, sequence, random_tokens(3, 3)).size(), 3u * k_tiny_n_vocab);

    // A buffer whose values could not be had.
    auto correction =
        std::make_shared<Correction>(*random_correction(model->hparams().n_embd, 1, 1));
    correction->up.back() = 1e6f;
    Plan plan = select_plan(3, {1}, 0.5);
    plan.layers[1].correction = correction;
    expect_error(ErrorKind::format, "cannot hold", [&] { engine.new_sequence(plan); });
    EXPECT_EQ(run_steps(engine, sequence, random_tokens(3, 4)).size(), 3u * k_tiny_n_vocab);
}

TEST_F(SplitModel, KeysBeyondTheCachesTypeAreFoundOnTheDevice) {
    TinyFile tiny = make_tiny_file(tiny_llama());
    for (float &value : tiny.tensor("blk.2.attn_k.weight").values) {
        value *= 1e7f;
    }
    tiny.write(dir_.file("m.gguf"));
    const auto model = load(dir_.file("m.gguf"), "RPC0,RPC1", "1,1");
    EngineOptions options = test_options();
    options.kv_type = KvType::f16;
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(dense_plan(3));
    expect_error(ErrorKind::limit, "keys or values of layer 2",
                 [&] { run(engine, sequence, random_tokens(20, 1)); });
    expect_error(ErrorKind::limit, "keys or values of layer 2",
                 [&] { run(engine, sequence, random_tokens(1, 1)); });
}

// Embedding and head are 2.5 layers each.
TEST_F(SplitModel, SharesLeftOutTheVocabulary) {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 8;
    tiny.head_dim = 4;
    tiny.n_ff = 16;
    for (const bool is_tied : {false, true}) {
        tiny.is_tied = is_tied;
        const std::string file = path(tiny);
        for (const auto &[split, wanted] : {std::pair("3,1", 0.75), std::pair("1,3", 0.25)}) {
            SCOPED_TRACE(split);
            const std::vector<DeviceShare> shares = load(file, "RPC0,RPC1", split)->shares();
            ASSERT_GE(shares.size(), 2u);
            const auto first = static_cast<double>(shares[0].weight_bytes);
            const auto second = static_cast<double>(shares[1].weight_bytes);
            EXPECT_NEAR(first / (first + second), wanted, 0.04);
        }
    }
}

int option(int fd, int level, int name) {
    int value = 0;
    socklen_t size = sizeof(value);
    EXPECT_EQ(::getsockopt(fd, level, name, &value, &size), 0);
    return value;
}

// The timers of what a port has accepted, as the kernel lists them: "02" asks a silent end.
std::vector<std::string> timers_of(int port) {
    std::ifstream table("/proc/net/tcp");
    std::string number, local, remote, state, queues, timer, rest;
    std::vector<std::string> timers;
    while (table >> number >> local >> remote >> state >> queues >> timer &&
           std::getline(table, rest)) {
        if (state == "01" && local.ends_with(fmt::format(":{:04X}", port))) {
            timers.push_back(timer.substr(0, 2));
        }
    }
    return timers;
}

TEST_F(SplitModel, BothEndsAskWhetherTheOtherIsThere) {
    for (const int server : {0, 1}) {
        int n_connections = 0;
        for (const int fd : open_sockets()) {
            sockaddr_in peer{};
            socklen_t size = sizeof(peer);
            if (::getpeername(fd, reinterpret_cast<sockaddr *>(&peer), &size) != 0 ||
                ntohs(peer.sin_port) != port_of(server)) {
                continue;
            }
            ++n_connections;
            EXPECT_EQ(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
            EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 15);
            EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 5);
            EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_KEEPCNT), 3);
        }
        EXPECT_EQ(n_connections, 1);
        EXPECT_THAT(timers_of(port_of(server)), ElementsAre("02"));
    }
}

// What is behind an endpoint, another one may be tomorrow.
TEST_F(SplitModel, TimingsOfServersWereRemembered) {
    const std::string cache = dir_.file("weights.json");
    for (int i = 0; i < 2; ++i) {
        const WeightChoice choice = choose_weights_for(path(tiny_llama()), "RPC0", 1, cache);
        EXPECT_FALSE(choice.is_remembered);
        EXPECT_EQ(choice.timings.size(), 5u);
    }
    EXPECT_FALSE(std::filesystem::exists(cache));
}

// ggml's own waiting ends when the graph is sent, and all time went to what was read back.
TEST_F(SplitModel, TimesOfOperationsAreWaitedFor) {
    const auto model = load(path(tiny_llama()), "RPC0", "none");
    Engine engine(*model, test_options());
    const std::vector<int32_t> tokens = random_tokens(40, 1);
    const auto n_received = [&](GraphWatch *watch) {
        Sequence sequence = engine.new_sequence(dense_plan(model->hparams().n_layers));
        const int64_t before = rpc_traffic().value().received;
        ForwardOptions options;
        options.watch = watch;
        const Chunk chunk = chunk_of(sequence, tokens, Phase::prefill, Outputs::last);
        run_batch(engine, std::span<const Chunk>(&chunk, 1), options);
        return rpc_traffic().value().received - before;
    };
    n_received(nullptr);
    const int64_t alone = n_received(nullptr);
    OperationProfiler profiler;
    const int64_t n_operations = 4 * model->hparams().n_layers;  // of several kinds each
    EXPECT_GT(n_received(&profiler), alone + 9 * n_operations) << "a size and a byte of each";
}

TEST_F(SplitModel, LayersFollowTheShares) {
    const auto devices = choose_devices("RPC1,CPU,RPC0");
    const std::vector<int64_t> equal(12, 100);
    LayerSplit split = split_layers(devices, "2,1,3", equal);
    EXPECT_EQ(split.devices, (std::vector{devices[0], devices[2], devices[1]})) << "the CPU last";
    EXPECT_THAT(split.of_layer, ElementsAre(0, 0, 0, 0, 2, 2, 1, 1, 1, 1, 1, 1));
    split = split_layers(devices, "1,0,1", {900, 100, 100, 100});
    EXPECT_THAT(split.of_layer, ElementsAre(0, 1, 1, 1)) << "bytes count, not layers";
    EXPECT_EQ(split_layers(devices, "none", equal).devices.size(), 2u);
    EXPECT_TRUE(split_layers(devices, "auto", equal).is_split());
    for (const char *text :
         {"1,2", "1,2,x", "0,0,0", "1,-1,1", "", "nan,1,1", "1e308,1e308,1", "halves"}) {
        expect_error(ErrorKind::usage, "expected auto, none, or a share for each of the 3 devices",
                     [&] { split_layers(devices, text, equal); });
    }
    expect_error(ErrorKind::usage, "named twice", [] { choose_devices("RPC0,RPC0"); });
    expect_error(ErrorKind::usage, "found an empty one", [] { choose_devices("RPC0,,CPU"); });
    expect_error(ErrorKind::device, "RPC1", [] { choose_devices("RPC7"); });
}

}  // namespace
}  // namespace orthorank::test
