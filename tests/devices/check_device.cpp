// A device of this machine beside its CPU: weights, keys and values in F32 on both, so that nothing
// but the order of sums is another. ORTHORANK_DEVICE names it, as `orthorank info` lists it. Not
// among ctest's tests: tools/check-vulkan runs them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>

#include "engine/plan_files.h"
#include "model/devices.h"
#include "model/vocab.h"
#include "support/compare.h"
#include "support/errors.h"
#include "support/model_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

constexpr double k_max_nmse = 1e-4;
constexpr double k_score_tolerance = 1e-2;  // relative: near zero they are differences
// CUDA's back end computes attention over heads of these widths, not of 16 and 32 as the tiny
// models have: the CPU would do it in its place, and be compared with itself.
constexpr int k_head_dim = 64;
constexpr int k_wider_head_dim = 128;

std::string device() {
    const char *name = std::getenv("ORTHORANK_DEVICE");
    return name == nullptr ? "" : name;
}

std::unique_ptr<Model> load_f32(const std::string &path, const std::string &devices,
                                const std::string &split = "none") {
    ModelOptions options;
    options.device = devices;
    options.split = split;
    options.use_mmap = false;
    options.weights.prefill = options.weights.decode = "f32";
    return Model::load(path, options);
}

bool caps_attention(const TinyModel &tiny) {
    return std::any_of(tiny.numbers.begin(), tiny.numbers.end(),
                       [](const auto &number) { return number.first == "attn_logit_softcapping"; });
}

// Layers whose heads have a width of their own keep one. A cap needs the wider heads: CUDA's back
// end says that it computes it over heads of 64 too, and its kernels then abort.
TinyModel with_wide_heads(TinyModel tiny) {
    tiny.head_dim = caps_attention(tiny) ? k_wider_head_dim : k_head_dim;
    tiny.head_dim_local = tiny.head_dim_local > 0 ? k_wider_head_dim : 0;
    return tiny;
}

class DeviceTest : public testing::Test {
 protected:
    void SetUp() override {
        ASSERT_NE(device(), "") << "set ORTHORANK_DEVICE, such as Vulkan0";
        ASSERT_NO_THROW(choose_devices(device()));
    }
    std::string path(const TinyModel &tiny) const {
        write_tiny_gguf(with_wide_heads(tiny), dir_.file("m.gguf"));
        return dir_.file("m.gguf");
    }
    TempDir dir_;
};

// Else everything here passes and says nothing of the device's attention. A test of its own, since
// the rest is worth knowing there too. (An RPC server's device always says that it computes it.)
TEST_F(DeviceTest, ComputesAttentionItself) {
    for (const int head_dim : {k_head_dim, k_wider_head_dim}) {
        EXPECT_TRUE(
            computes_attention(choose_devices(device()).front(), {head_dim, 4, 4}, GGML_TYPE_F32))
            << device() << " computes no attention over heads of " << head_dim
            << " with a cache in F32: the CPU does, and the device's own is not checked";
    }
}

class DeviceArchitectureTest : public DeviceTest, public testing::WithParamInterface<TinyModel> {};

// Prompts in chunks and steps, dense and selecting with corrections; alone, and with a border to
// the CPU in the middle. Where a device rounds to half precision (a GPU's products do), another
// text might have other rows chosen at a near tie, and all numbers behind it differ: hence
// clearest_text.
TEST_P(DeviceArchitectureTest, IsTheCpus) {
    const std::string file = path(GetParam());
    const auto cpu = load_f32(file, "CPU");
    EngineOptions options = test_options();
    options.chunk_rows = 37;
    const auto alone = load_f32(file, device());
    const auto split = load_f32(file, device() + ",CPU", "1,1");
    for (const Plan &plan :
         {dense_plan(cpu->hparams().n_layers), selecting_plan(*cpu, "orthogonal")}) {
        const ClearText text = clearest_text(*cpu, plan, options, Apply::both);
        for (const Model *model : {alone.get(), split.get()}) {
            SCOPED_TRACE(std::string(plan.is_dense() ? "dense" : "selecting") +
                         (model == split.get() ? ", split" : ""));
            expect_same(run_all(*model, plan, options, Apply::both, text.seed), text.given,
                        k_max_nmse, k_score_tolerance);
        }
    }
}

std::vector<TinyModel> all_tiny_models() {
    std::vector<TinyModel> all = tiny_models();
    for (const TinyModel &model : tiny_architectures()) {
        all.push_back(model);
    }
    return all;
}

INSTANTIATE_TEST_SUITE_P(Tiny, DeviceArchitectureTest, testing::ValuesIn(all_tiny_models()),
                         [](const auto &test) { return test_name(test.param.name); });

TEST_F(DeviceTest, EveryPolicyPicksTheSameRows) {
    const std::string file = path(tiny_llama_gqa_tied());
    const auto cpu = load_f32(file, "CPU");
    const auto model = load_f32(file, device());
    for (const std::string_view name : policy_names()) {
        SCOPED_TRACE(name);
        const auto [plan, apply] = policy_run(*cpu, std::string(name));
        const ClearText text = clearest_text(*cpu, plan, test_options(), apply);
        expect_same(run_all(*model, plan, test_options(), apply, text.seed), text.given, k_max_nmse,
                    k_score_tolerance);
    }
}

TEST_F(DeviceTest, BatchesAreTheCpus) {
    const std::string file = path(tiny_llama());
    const std::vector<Logits> expected = run_together(*load_f32(file, "CPU"));
    const std::vector<Logits> found = run_together(*load_f32(file, device()));
    ASSERT_EQ(found.size(), expected.size());
    for (size_t i = 0; i < found.size(); ++i) {
        EXPECT_TRUE(nmse_below(k_max_nmse, found[i], expected[i])) << i;
    }
}

// Hidden states are read and given at every boundary.
TEST_F(DeviceTest, PassesStopAndGoOnAtEveryLayer) {
    const auto model = load_f32(path(tiny_llama()), device());
    const Plan plan = select_plan(3, {2}, 0.5);
    for (int layer = 0; layer <= 3; ++layer) {
        const StoppedRun runs = stop_and_go_on(*model, test_options(), plan, layer);
        EXPECT_TRUE(nmse_below(k_max_nmse, runs.resumed, runs.straight)) << layer;
    }
}

// Keys and values are copied where a sequence is forked, and a text goes on behind them.
TEST_F(DeviceTest, ForksGoOnAsTheirOrigin) {
    const auto model = load_f32(path(tiny_qwen3()), device());
    EngineOptions options = test_options();
    options.n_sequences = 2;
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(selecting_plan(*model, "orthogonal"));
    run(engine, sequence, random_tokens(40, 1), Outputs::none);
    Sequence copy = engine.fork(sequence);
    const auto more = random_tokens(5, 2);
    const Logits expected = run_steps(engine, sequence, more);
    EXPECT_TRUE(nmse_below(k_max_nmse, run_steps(engine, copy, more), expected));
}

TEST_F(DeviceTest, KeysBeyondTheCachesTypeAreFoundOnTheDevice) {
    TinyFile tiny = make_tiny_file(with_wide_heads(tiny_llama()));
    for (float &value : tiny.tensor("blk.2.attn_k.weight").values) {
        value *= 1e7f;
    }
    tiny.write(dir_.file("m.gguf"));
    const auto model = load_f32(dir_.file("m.gguf"), device());
    EngineOptions options = test_options();
    options.kv_type = KvType::f16;
    Engine engine(*model, options);
    Sequence sequence = engine.new_sequence(dense_plan(3));
    expect_error(ErrorKind::limit, "keys or values of layer 2",
                 [&] { run(engine, sequence, random_tokens(20, 1)); });
}

constexpr const char *k_text =
    "Once a week the lighthouse keeper rowed across the bay to buy bread, oil and paper. He wrote "
    "down what the sea had done, which ships had passed and how the wind had turned.";

// The default model at 32 tokens: dense, then plans, in one process and one engine after another.
TEST_F(DeviceTest, DefaultModelDenseAndUnderPlans) {
    ASSERT_TRUE(has_default_model()) << "no default model at " << default_model_path();
    const auto cpu = load_f32(default_model_path(), "CPU");
    const auto model = load_f32(default_model_path(), device());
    const auto vocab = Vocab::load(default_model_path());
    const auto tokens = vocab->tokenize_first(32, k_text, vocab->adds_bos());
    ASSERT_EQ(tokens.size(), 32u);
    std::vector<Plan> plans = {dense_plan(cpu->hparams().n_layers)};
    for (const char *name : {"orthorank-20", "joint-20", "probe-20", "prompt-30", "sleb-20"}) {
        plans.push_back(read_plan_files(std::string(ORTHORANK_SOURCE_DIR) +
                                        "/plans/smollm2-135m-instruct-" + name + ".json"));
    }
    EngineOptions options = test_options();
    options.n_threads = 2;
    options.n_sequences = static_cast<int>(plans.size());
    Engine device_engine(*model, options);
    Engine cpu_engine(*cpu, options);
    for (const Plan &plan : plans) {
        SCOPED_TRACE(plan.name);
        Sequence found = device_engine.new_sequence(plan, Apply::both);
        Sequence expected = cpu_engine.new_sequence(plan, Apply::both);
        const auto prompt = std::span(tokens).first(28);
        const auto steps = std::span(tokens).subspan(28);
        const Logits expected_prompt = run(cpu_engine, expected, prompt);
        EXPECT_TRUE(nmse_below(k_max_nmse, run(device_engine, found, prompt), expected_prompt));
        const Logits expected_steps = run_steps(cpu_engine, expected, steps);
        EXPECT_TRUE(nmse_below(k_max_nmse, run_steps(device_engine, found, steps), expected_steps));
        for (int il = 0; il < plan.n_layers(); ++il) {
            EXPECT_TRUE(same_record(found.record(il), expected.record(il), k_score_tolerance))
                << il;
        }
    }
}

}  // namespace
}  // namespace orthorank::test
