// Plans with corrections and probes as files: what is written is read, by every way, and what is
// wrong with a file is said in one line.
#include "engine/plan_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>

#include "base/text_file.h"
#include "engine/shipped_plans.h"
#include "support/engine_runs.h"
#include "support/errors.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

constexpr int k_width = 64;

// Numbers that F16 has too.
Plan plan_with_numbers(const std::string &fingerprint = "0123456789abcdef") {
    Plan plan = select_plan(6, {1, 4}, 0.25, "probe");
    plan.layers[2].action = Action::skip;
    plan.layers[5] = {Action::select, 0.5, policy_from_name("orthogonal")};
    plan.fingerprint = fingerprint;
    plan = completed(plan, k_width, 5);
    for (LayerPlan &layer : plan.layers) {
        if (layer.correction != nullptr) {
            Correction rounded = *layer.correction;
            for (std::vector<float> *values : {&rounded.down, &rounded.up}) {
                for (float &value : *values) {
                    value = static_cast<float>(static_cast<int>(value * 256)) / 256;
                }
            }
            layer.correction = std::make_shared<const Correction>(rounded);
        }
    }
    plan.layers[5].correction = random_correction(k_width, 0, 77);  // the bias alone
    plan.layers[4].correction = nullptr;                            // a probe alone
    return plan;
}

// Without layer 1.
Plan removing_plan(int n_layers, int rank) {
    Plan plan = dense_plan(n_layers);
    plan.layers[1].action = Action::skip;
    return completed(plan, k_width, rank);
}

class PlanFilesTest : public testing::Test {
 protected:
    std::string path(const std::string &name) const { return dir_.file(name); }
    // The JSON of p.json with one text in place of another.
    void edit(const std::string &from, const std::string &to) const {
        std::string text = read_bytes(path("p.json"));
        const size_t at = text.find(from);
        ASSERT_NE(at, std::string::npos) << text;
        write_bytes(path("p.json"), text.replace(at, from.size(), to));
    }
    // As plans were before they had a hash of their numbers.
    void forget_hash() const {
        const std::string text = read_bytes(path("p.json"));
        const size_t at = text.find("  \"tensors_hash\"");
        ASSERT_NE(at, std::string::npos);
        edit(text.substr(at, text.find('\n', at) + 1 - at), "");
    }
    void expect_refused(const std::string &part, ErrorKind kind = ErrorKind::format) const {
        expect_error(kind, part, [&] { read_plan_files(path("p.json")); });
    }
    // p.json with side file that holds these tensors.
    void write_with(const std::vector<FloatTensor> &tensors, uint32_t version = 1) const {
        FloatMetadata metadata;
        metadata.integers = {{"orthorank.tensors.version", version},
                             {"orthorank.tensors.embedding_length", k_width}};
        write_float_file(path("p.gguf"), metadata, tensors);
    }

    TempDir dir_;
};

TEST_F(PlanFilesTest, WhatIsWrittenIsRead) {
    const Plan plan = plan_with_numbers();
    for (const CorrectionType type : {CorrectionType::f16, CorrectionType::f32}) {
        write_plan_files(plan, path("p.json"), type);
        const Plan again = read_plan_files(path("p.json"));
        EXPECT_EQ(again.layers, plan.layers);
        EXPECT_EQ(again.fingerprint, plan.fingerprint);
        EXPECT_EQ(plan_identity(again), plan_identity(plan));
    }
    EXPECT_THAT(read_bytes(path("p.json")), testing::HasSubstr("\"tensors\": \"p.gguf\""));
    EXPECT_THAT(read_bytes(path("p.json")),
                testing::HasSubstr(R"({"index":2,"action":"skip","correction":{"rank":5}})"));
    EXPECT_EQ(plan_number_bytes(plan),
              2 * (2 * 5 * k_width * 2) + 3 * k_width * 4 + 2 * k_width * 4);
}

TEST_F(PlanFilesTest, F16RoundsTheMatricesOnly) {
    Plan plan = removing_plan(2, 3);
    write_plan_files(plan, path("p.json"));
    const Plan again = read_plan_files(path("p.json"));
    const Correction &stored = *again.layers[1].correction;
    const Correction &original = *plan.layers[1].correction;
    EXPECT_EQ(stored.bias, original.bias);
    EXPECT_NE(stored.up, original.up);
    for (size_t i = 0; i < stored.up.size(); ++i) {
        EXPECT_NEAR(stored.up[i], original.up[i], 1e-3 * std::abs(original.up[i]) + 1e-7);
    }
    Plan large = plan;
    Correction too_large = original;
    too_large.down[5] = 1e6f;
    large.layers[1].correction = std::make_shared<const Correction>(too_large);
    expect_error(ErrorKind::format, "blk.1.correction_down.weight: its value 1000000 cannot be",
                 [&] { write_plan_files(large, path("l.json")); });
    EXPECT_FALSE(std::filesystem::exists(path("l.json")));
    EXPECT_FALSE(std::filesystem::exists(path("l.gguf")));
    write_plan_files(large, path("l.json"), CorrectionType::f32);
    EXPECT_EQ(read_plan_files(path("l.json")).layers, large.layers);
}

TEST_F(PlanFilesTest, PlainPlanIsVersionOneAndAlone) {
    const Plan plan = select_plan(4, {1}, 0.5);
    write_plan_files(plan, path("p.json"));
    EXPECT_FALSE(std::filesystem::exists(path("p.gguf")));
    EXPECT_THAT(read_bytes(path("p.json")), testing::HasSubstr("\"version\": 1"));
    EXPECT_EQ(read_plan_files(path("p.json")).layers, plan.layers);
}

TEST_F(PlanFilesTest, TheFileMayHaveAnotherNameOrNone) {
    const Plan plan = plan_with_numbers();
    write_plan_files(plan, path("p.json"));
    edit("  \"tensors\": \"p.gguf\",\n", "");
    EXPECT_EQ(read_plan_files(path("p.json")).layers, plan.layers) << "PLAN.gguf beside it";
    std::filesystem::create_directory(path("numbers"));
    std::filesystem::rename(path("p.gguf"), path("numbers/of p"));
    edit("\"version\": 2,", "\"version\": 2, \"tensors\": \"numbers/of p\",");
    EXPECT_EQ(read_plan_files(path("p.json")).layers, plan.layers);
    EXPECT_EQ(plan_tensors_path("a/b.json"), "a/b.gguf");
    EXPECT_EQ(plan_tensors_path("a.b/c"), "a.b/c.gguf");
}

TEST_F(PlanFilesTest, IdentityTellsNumbersApart) {
    const Plan plan = plan_with_numbers();
    Plan other = plan;
    Probe probe = *plan.layers[4].probe;
    probe.weight[7] += 1e-3f;
    other.layers[4].probe = std::make_shared<const Probe>(probe);
    EXPECT_EQ(plan_to_json(plan), plan_to_json(other));
    EXPECT_NE(plan_identity(plan), plan_identity(other));
    const Plan plain = select_plan(4, {1}, 0.5);
    EXPECT_EQ(plan_identity(plain), plan_to_json(plain)["layers"]);
}

// What a crash between the two renames of a refit in place left behind was taken for a plan.
TEST_F(PlanFilesTest, OldPlanWithNewNumbersIsRefused) {
    write_plan_files(removing_plan(3, 4), path("p.json"), CorrectionType::f32);
    const std::string old_json = read_bytes(path("p.json"));
    Plan refitted = removing_plan(3, 4);
    Correction other = *refitted.layers[1].correction;
    other.bias[3] += 1.0f;
    refitted.layers[1].correction = std::make_shared<const Correction>(other);
    write_plan_files(refitted, path("p.json"), CorrectionType::f32);
    EXPECT_NE(read_bytes(path("p.json")), old_json);
    write_bytes(path("p.json"), old_json);
    expect_refused("p.gguf is not the file that it was written with: its hash is");
    edit("\"tensors_hash\": \"", "\"tensors_hash\": \"0");
    expect_refused("\"tensors_hash\" must be 16 hex digits, found");
    // Plans from before there was a hash.
    write_bytes(path("p.json"), old_json);
    forget_hash();
    EXPECT_EQ(read_plan_files(path("p.json")).layers, refitted.layers);
}

// select-layers -o m.json replaced the model m.gguf by the plan's numbers.
TEST_F(PlanFilesTest, ModelUnderTheNameOfTheNumbersIsKept) {
    write_tiny_gguf(tiny_llama(), path("m.gguf"));
    const std::string model = read_bytes(path("m.gguf"));
    const std::string message = "m.gguf, where another file is that is no orthorank-plan";
    expect_error(ErrorKind::usage, message, [&] { check_plan_output(path("m.json"), true); });
    expect_error(ErrorKind::usage, message,
                 [&] { write_plan_files(removing_plan(3, 4), path("m.json")); });
    expect_error(ErrorKind::usage, "m.gguf is a GGUF file, a plan is JSON",
                 [&] { write_plan_files(removing_plan(3, 0), path("m.gguf")); });
    write_plan_files(select_plan(3, {1}, 0.5), path("m.json"));  // has no numbers
    EXPECT_EQ(read_bytes(path("m.gguf")), model);
    write_bytes(path("n.gguf"), "notes");
    expect_error(ErrorKind::usage, "n.gguf, where another file",
                 [&] { check_plan_output(path("n.json"), true); });
    // A plan's own files are replaced.
    write_plan_files(removing_plan(3, 4), path("p.json"));
    write_plan_files(removing_plan(3, 2), path("p.json"));
    EXPECT_EQ(read_plan_files(path("p.json")).layers[1].correction->rank, 2);
}

TEST_F(PlanFilesTest, BadSideFiles) {
    const Plan plan = removing_plan(3, 4);
    write_plan_files(plan, path("p.json"));
    forget_hash();
    const Correction &c = *plan.layers[1].correction;
    const FloatTensor down{"blk.1.correction_down.weight", {k_width, 4}, c.down};
    const FloatTensor up{"blk.1.correction_up.weight", {4, k_width}, c.up};
    const FloatTensor bias{"blk.1.correction.bias", {k_width}, c.bias};
    write_with({down, up, bias});
    EXPECT_EQ(read_plan_files(path("p.json")).layers, plan.layers);

    write_with({down, bias});
    expect_refused("p.gguf: tensor blk.1.correction_up.weight is missing");
    write_with({down, {up.name, {k_width, 4}, c.up}, bias});
    expect_refused("blk.1.correction_up.weight has the shape [64, 4], expected [4, 64]");
    write_with({down, up, bias}, 2);
    expect_refused("orthorank.tensors.version is 2, this program reads 1");
    write_float_file(path("p.gguf"), {}, {down, up, bias});
    expect_refused("key orthorank.tensors.version is missing");
    write_with({down, up, bias});
    edit("\"rank\":4", "\"rank\":65");
    expect_refused("layer 1 has a correction of rank 65, more than its width of 64");
    edit("\"rank\":65", "\"rank\":4");

    std::string bytes = read_bytes(path("p.gguf"));
    const float nan = std::numeric_limits<float>::quiet_NaN();
    bytes.replace(bytes.size() - sizeof(nan), sizeof(nan),
                  std::string(reinterpret_cast<const char *>(&nan), sizeof(nan)));
    write_bytes(path("p.gguf"), bytes);
    expect_refused("blk.1.correction.bias: value 63 is nan, expected a finite number");
    write_bytes(path("p.gguf"), bytes.substr(0, bytes.size() - 100));
    expect_refused("truncated");
    write_bytes(path("p.gguf"), "not at all");
    expect_refused("is not a GGUF file");
    std::filesystem::remove(path("p.gguf"));
    expect_refused("p.gguf, which cannot be read: No such file or directory", ErrorKind::file);
}

TEST_F(PlanFilesTest, FingerprintsMustAgreeWhereBothAreKnown) {
    write_plan_files(plan_with_numbers("aaaa"), path("p.json"));
    edit("\"fingerprint\":\"aaaa\"", "\"fingerprint\":\"bbbb\"");
    expect_refused("its numbers are for the model with fingerprint \"aaaa\", the plan");
    edit(",\"fingerprint\":\"bbbb\"", "");
    EXPECT_EQ(read_plan_files(path("p.json")).layers, plan_with_numbers().layers);
}

TEST_F(PlanFilesTest, InsideAModel) {
    TinyModel tiny = tiny_llama();
    tiny.n_layers = 6;
    write_tiny_gguf(tiny, path("m.gguf"));
    const auto model = load_on_cpu(path("m.gguf"));
    Plan plan = plan_with_numbers(model->fingerprint());
    plan.provenance = {{"sparsity", 0.3}};
    export_gguf(path("m.gguf"), path("e.gguf"), embedding_of(plan));
    const auto embedded = load_on_cpu(path("e.gguf"));
    EXPECT_EQ(embedded->fingerprint(), model->fingerprint());
    EXPECT_EQ(embedded_plan(*embedded)->layers, plan.layers);
    EXPECT_EQ(plan_for_sparsity(*embedded, 0.3, "").plan.layers, plan.layers);

    // Another plan takes its place with all that belonged to it.
    const Plan plain = select_plan(6, {3}, 0.5);
    export_gguf(path("e.gguf"), path("f.gguf"), embedding_of(plain));
    EXPECT_EQ(embedded_plan(*load_on_cpu(path("f.gguf")))->layers, plain.layers);
    export_gguf(path("m.gguf"), path("g.gguf"), embedding_of(plain));
    EXPECT_EQ(read_bytes(path("f.gguf")), read_bytes(path("g.gguf")));
}

}  // namespace
}  // namespace orthorank::test
