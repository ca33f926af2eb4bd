// Corrections and probes through `orthorank select-layers`: fitted behind a search, or to a plan.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/select_layers_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::SizeIs;

TEST_F(SelectLayersCommand, CorrectionsInTheSearchAreThoseOfARefit) {
    const std::vector<std::string> fit = {"--correct", "4", "--policy", "probe"};
    std::vector<std::string> searched = select({"--layers", "2", "-o", out_});
    searched.insert(searched.end(), fit.begin(), fit.end());
    const ProgramResult found = run(searched);
    ASSERT_EQ(found.exit_code, 0) << found.err;
    EXPECT_THAT(found.out, AllOf(HasSubstr("corrections of rank 4, ridge 0.01"),
                                 HasSubstr("gain explained by the probe")));
    EXPECT_FALSE(std::filesystem::exists(out_ + ".partial"));
    const std::string plain = dir_.file("plain.json");
    ASSERT_EQ(run(select({"--layers", "2", "-o", plain})).exit_code, 0);
    const std::string refitted = dir_.file("refitted.json");
    std::vector<std::string> refit = select({"--refit", plain, "-o", refitted});
    refit.insert(refit.end(), fit.begin(), fit.end());
    const json result = run_json(refit).at("results").at(0);
    EXPECT_EQ(read("refitted.json").at("layers"), read("found.json").at("layers"));
    EXPECT_EQ(read_bytes(dir_.file("refitted.gguf")), read_bytes(dir_.file("found.gguf")));
    const json provenance = read("refitted.json").at("provenance");
    EXPECT_EQ(result.at("provenance"), provenance);
    EXPECT_EQ(provenance.at("method"), "sleb");
    EXPECT_EQ(provenance.at("policy"), "orthogonal") << "the policy of the search";
    const json correction = provenance.at("correction");
    EXPECT_EQ(correction, read("found.json").at("provenance").at("correction"));
    EXPECT_EQ(correction.at("rank"), 4);
    EXPECT_EQ(correction.at("ridge"), 0.01);
    EXPECT_EQ(correction.at("calibration").at("files"), json::array({"text.txt"}));
    EXPECT_EQ(correction.at("calibration").at("windows"), 3);
    ASSERT_THAT(correction.at("layers"), SizeIs(2));
    EXPECT_TRUE(correction.at("layers").at(0).at("r_squared").is_number());
    const json used = run_json({"perplexity", "-f", text_, "--ctx", "32", "--plan", refitted});
    EXPECT_THAT(used.at("results"), SizeIs(2));
}

TEST_F(SelectLayersCommand, RefitKeepsOrSetsThePolicy) {
    // Each step reads the plan of the one before: none is written over what it reads.
    int step = 0;
    const auto plan = [&](int of_step) { return "step-" + std::to_string(of_step) + ".json"; };
    const auto policy_of = [&](std::vector<std::string> more) {
        if (step > 0) {
            more.insert(more.end(), {"--refit", dir_.file(plan(step))});
        }
        more.insert(more.end(), {"-o", dir_.file(plan(++step))});
        const ProgramResult result = run(select(more));
        EXPECT_EQ(result.exit_code, 0) << result.err;
        return read(plan(step)).at("layers").at(0).value("policy", "none");
    };
    EXPECT_EQ(policy_of({"--layers", "1", "--policy", "cosine"}), "cosine");
    EXPECT_EQ(policy_of({"--correct", "3"}), "cosine");
    EXPECT_EQ(policy_of({"--correct", "0", "--policy", "probe"}), "probe");
    EXPECT_EQ(policy_of({"--correct", "2"}), "probe");
    EXPECT_EQ(read(plan(step)).at("provenance").at("correction").at("rank"), 2);
    EXPECT_EQ(policy_of({"--correct", "2", "--policy", "orthogonal"}), "orthogonal");
    // A smaller level of the order has no corrections: they were fitted for the larger one.
    ASSERT_EQ(run({"select-layers", "--from", dir_.file(plan(step)), "--layers", "1", "-o", out_})
                  .exit_code,
              0);
    EXPECT_FALSE(read("found.json").at("provenance").contains("correction"));
    EXPECT_EQ(read("found.json").at("version"), 1);
}

TEST_F(SelectLayersCommand, RemovedLayersCanBeCorrected) {
    ASSERT_EQ(run(select({"--convert", "skip", "--layers", "1", "--correct", "64", "--ridge", "1",
                          "-o", out_}))
                  .exit_code,
              0);
    EXPECT_EQ(read("found.json").at("provenance").at("correction").at("ridge"), 1.0);
    const json used = run_json({"perplexity", "-f", text_, "--ctx", "32", "--plan", out_});
    EXPECT_THAT(used.at("results"), SizeIs(2));
}

TEST_F(SelectLayersCommand, CorrectionsThatCannotBe) {
    const auto failing = [&](const std::string &part, const std::vector<std::string> &more,
                             int exit_code = 2) {
        expect_failure(exit_code, part, select(more));
        EXPECT_FALSE(std::filesystem::exists(out_));
        std::filesystem::remove(out_ + ".partial");
    };
    failing("goes with --correct", {"--layers", "1", "-o", out_, "--policy", "probe"});
    failing("--ridge goes with", {"--layers", "1", "-o", out_, "--ridge", "0.1"});
    failing("rank 65: 0 to 64", {"--layers", "1", "-o", out_, "--correct", "65"});
    failing(
        "--policy does nothing: a removed layer computes no row",
        {"--layers", "1", "-o", out_, "--correct", "1", "--policy", "probe", "--convert", "skip"});
    failing("takes the layers of its plan", {"--refit", plan_, "--layers", "1", "-o", out_});
    failing("add corrections with --refit",
            {"--from", plan_, "--layers", "1", "--correct", "1", "-o", out_});
    write_bytes(dir_.file("three.json"), plan_text(R"({"index": 1, "action": "skip"})", 3));
    failing("3 layers", {"--refit", dir_.file("three.json"), "-o", out_}, 1);
    failing("none.json", {"--refit", dir_.file("none.json"), "-o", out_}, 1);
    write_bytes(dir_.file("dense.json"), plan_text("", 8));
    for (const std::vector<std::string> &option :
         {std::vector<std::string>{"--policy", "norm-up"}, {"--inherit"}, {"--keep-last", "2"}}) {
        std::vector<std::string> refit = {"--refit", dir_.file("three.json"), "-o", out_};
        refit.insert(refit.end(), option.begin(), option.end());
        failing(option.front() + " does nothing: a removed layer computes no row", refit);
    }
    failing("every layer is dense", {"--refit", dir_.file("dense.json"), "-o", out_});
    const std::string few = dir_.file("few.txt");
    write_bytes(few, std::string(40, 'z'));
    failing("few.txt only 1", {"--calibration", few, "--layers", "1", "--correct", "1", "-o", out_},
            1);
}

// What is left after Ctrl-C in the fit, or after a fit that fails: the search is not made again.
TEST_F(SelectLayersCommand, FinishedSearchSurvivesTheFit) {
    for (const std::string method : {"sleb", "shortened-ppl", "shortened-taylor"}) {
        SCOPED_TRACE(method);
        const std::vector<std::string> search = {"--method", method, "--layers", "2", "-o", out_};
        std::vector<std::string> too_large = select(search);
        too_large.insert(too_large.end(), {"--correct", "65"});
        EXPECT_EQ(run(too_large).exit_code, 2);
        ASSERT_TRUE(std::filesystem::exists(out_ + ".partial"));
        const json kept = json::parse(read_bytes(out_ + ".partial"));
        std::vector<std::string> again = select(search);
        again.insert(again.end(), {"--correct", "4"});
        const ProgramResult result = run(again);
        ASSERT_EQ(result.exit_code, 0) << result.err;
        EXPECT_THAT(result.err, HasSubstr("continuing after"));
        EXPECT_FALSE(std::filesystem::exists(out_ + ".partial"));
        const json order = read("found.json").at("provenance").at("order");
        ASSERT_EQ(order.size(), kept.at("rounds").size());
        for (size_t i = 0; i < order.size(); ++i) {
            EXPECT_EQ(order[i].at("layer"), kept.at("rounds")[i].at("layer"));
        }
    }
}

// The plan's numbers replaced the model m.gguf, after the search.
TEST_F(SelectLayersCommand, ModelIsNoPlaceForThePlansNumbers) {
    const std::string model = read_bytes(model_);
    expect_failure(2, "m.gguf, where another file is",
                   select({"--layers", "1", "--correct", "1", "-o", dir_.file("m.json")}));
    expect_failure(2, "m.gguf, where another file is",
                   select({"--refit", plan_, "-o", dir_.file("m.json")}));
    EXPECT_EQ(read_bytes(model_), model);
    EXPECT_FALSE(std::filesystem::exists(dir_.file("m.json.partial")));
}

}  // namespace
}  // namespace orthorank::test
