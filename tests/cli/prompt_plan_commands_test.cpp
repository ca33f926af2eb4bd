// Plans for prompts through the program: found, fitted, measured, recorded, used.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/text_file.h"
#include "support/command_fixture.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::HasSubstr;
using testing::Not;

class PromptPlanCommands : public CommandTest {
 protected:
    PromptPlanCommands() {
        std::string text;
        for (int i = 0; i < 60; ++i) {
            text += "a line of text " + std::to_string(i) + "\n";
        }
        write_bytes(text_, text);
        write_bytes(prompt_plan_, plan_with(R"("apply": "prefill", "keep_last": 4, )"));
    }
    static std::string plan_with(const std::string &keys) {
        return R"({"format": "orthorank-plan", "version": 3, )" + keys +
               R"("model": {"n_layers": 3},
                  "layers": [{"index": 1, "action": "select", "ratio": 0.25},
                             {"index": 2, "action": "select", "policy": "inherit"}]})";
    }
    std::vector<std::string> measuring(std::vector<std::string> more) const {
        std::vector<std::string> arguments = {"perplexity", "-f",     text_,       "--ctx",
                                              "64",         "--plan", prompt_plan_};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }

    const std::string text_ = dir_.file("text.txt");
    const std::string prompt_plan_ = dir_.file("prompt.json");
};

TEST_F(PromptPlanCommands, ContinuationIsMeasuredAndRecorded) {
    const json results = run_json(measuring({"--continuation", "16", "--record"}))["results"];
    ASSERT_EQ(results.size(), 2u);
    EXPECT_EQ(results[1]["n_continuation"], 16);
    EXPECT_EQ(results[1]["n_targets"], 16 * results[1]["n_windows"].get<int>());
    const json plan = json::parse(read_text_file(prompt_plan_));
    ASSERT_EQ(plan["measured"].size(), 1u);
    EXPECT_EQ(plan["measured"][0]["ratio"], results[1]["ratio_to_dense"]);
    EXPECT_EQ(plan["measured"][0]["text"], "text.txt");
    EXPECT_EQ(plan["measured"][0]["continuation"], 16);
    EXPECT_EQ(plan["layers"][1]["policy"], "inherit") << "as it was";
    EXPECT_THAT(run(measuring({"--continuation", "16", "--record"})).err,
                Not(HasSubstr("replaced")));
    EXPECT_EQ(json::parse(read_text_file(prompt_plan_))["measured"].size(), 1u) << "replaced";
    const std::string said =
        run({"generate", "-p", "a line of text", "-n", "3", "--temp", "0", "--plan", prompt_plan_})
            .err;
    EXPECT_THAT(said, HasSubstr("% of the prompt's rows computed in 2 selecting layers"));
    EXPECT_THAT(said, HasSubstr("prompt.json: perplexity over dense: "));
    EXPECT_THAT(said, Not(HasSubstr("longer than that")));
    const std::string long_prompt(500, 'x');
    EXPECT_THAT(run({"generate", "-p", long_prompt, "-n", "1", "--plan", prompt_plan_}).err,
                HasSubstr("longer than that: it may cost more"));

    // What was measured is not said of a run that differs.
    for (const std::vector<std::string> &other :
         {std::vector<std::string>{"--keep-last", "0"}, {"--apply", "decode"}}) {
        std::vector<std::string> command = {"generate", "-p",     "a line of text", "-n",
                                            "3",        "--plan", prompt_plan_};
        command.insert(command.end(), other.begin(), other.end());
        EXPECT_THAT(run(command).err, Not(HasSubstr("perplexity over dense: "))) << other[0];
    }
    EXPECT_THAT(run({"generate", "-p", "a line of text", "-n", "3", "--plan", prompt_plan_,
                     "--keep-last", "4"})
                    .err,
                HasSubstr("perplexity over dense: "))
        << "the plan's own number";
    const json info =
        run_json({"info", "--plan", prompt_plan_, "--ctx", "64"})["results"][0]["plans"][0];
    EXPECT_EQ(info["apply"], "prefill");
    EXPECT_EQ(info["keep_last"], 4);
    EXPECT_EQ(info["measured"], json::parse(read_text_file(prompt_plan_))["measured"]);
    EXPECT_GT(info["prompt_bound"].get<double>(), 1.0);
    const std::string described = run({"info", "--plan", prompt_plan_, "--ctx", "64"}).out;
    EXPECT_THAT(described, HasSubstr("for prompts alone, their last 4 rows"));
    EXPECT_THAT(described, HasSubstr("a prompt of 64 tokens at most"));
    EXPECT_THAT(described, HasSubstr("on text.txt ("));

    EXPECT_THAT(run(measuring({"--continuation", "16", "--record", "--windows", "2"})).err,
                HasSubstr("windows of text.txt is replaced by one of 2"));
}

TEST_F(PromptPlanCommands, RecordNamesTheWeightsInUse) {
    run_json(measuring({"--record", "--weights", "f16"}));
    const json plan = json::parse(read_text_file(prompt_plan_));
    EXPECT_THAT(plan["measured"][0]["weights"].get<std::string>(), HasSubstr("f16"));
    expect_failure(2, "has one window, whose loss has no standard error",
                   measuring({"--record", "--windows", "1", "--continuation", "16"}));
}

TEST_F(PromptPlanCommands, KeptRowsCountInThePromptAlone) {
    const auto fraction = [&](const std::vector<std::string> &more) {
        return run_json(measuring(more))["results"][1]["fraction_of_rows_computed"].get<double>();
    };
    EXPECT_NEAR(fraction({"--continuation", "16"}), (4 + 11) / 48.0, 1e-9);
    EXPECT_NEAR(fraction({"--continuation", "16", "--keep-last", "0"}), 0.25, 1e-9);
    EXPECT_NEAR(fraction({}), 0.25, 1e-9) << "every row is scored: none is kept";
    EXPECT_THAT(run(measuring({})).err, HasSubstr("prompt.json: keep_last 4 is left out"));
    EXPECT_THAT(run(measuring({"--continuation", "16"})).err, Not(HasSubstr("left out")));
}

TEST_F(PromptPlanCommands, WhatIsRefused) {
    expect_failure(2, "--continuation 64 leaves no prompt in a window of 64 tokens",
                   measuring({"--continuation", "64"}));
    expect_failure(2, "--keep-last does nothing: without --continuation",
                   measuring({"--keep-last", "3"}));
    expect_failure(2, "--record writes into the plan file",
                   {"perplexity", "-f", text_, "--ctx", "64", "--record"});
    expect_failure(
        2, "--keep-last does nothing with --apply decode",
        {"generate", "-p", "x", "--plan", prompt_plan_, "--apply", "decode", "--keep-last", "3"});
    expect_failure(2, "passkey: name a text", {"eval", "--tasks", "passkey"});
    expect_failure(2, "--lengths does nothing: it goes with --tasks passkey",
                   {"eval", "--tasks", "piqa", "--data", dir_.path(), "--lengths", "100"});
    expect_failure(2, "--apply decode: decode alone is not measured here",
                   {"eval", "--tasks", "passkey", "--text", text_, "--apply", "decode"});
    const std::string decode = dir_.file("decode.json");
    write_bytes(decode, R"({"format": "orthorank-plan", "version": 3, "apply": "decode",
        "model": {"n_layers": 3}, "layers": [{"index": 1, "action": "select", "ratio": 0.25}]})");
    for (const std::vector<std::string> &scoring :
         {std::vector<std::string>{"perplexity", "-f", text_, "--ctx", "64"},
          {"perplexity", "-f", text_, "--ctx", "64", "--continuation", "16"},
          {"eval", "--tasks", "passkey", "--text", text_, "--lengths", "250"}}) {
        std::vector<std::string> command = scoring;
        command.insert(command.end(), {"--plan", decode});
        expect_failure(2, "is for decode alone, which is not measured here", command);
    }
    const std::string short_text = dir_.file("short.txt");
    write_bytes(short_text, std::string(250, 'x'));
    expect_failure(1, "a pass key prompt of 480 tokens needs",  // before any other is run
                   {"eval", "--tasks", "passkey", "--text", short_text, "--lengths", "300,480",
                    "--count", "2000"});
    const std::vector<std::string> search = {"select-layers",     "--calibration", text_, "-o",
                                             dir_.file("x.json"), "--layers",      "1"};
    const auto searching = [&](std::vector<std::string> more) {
        more.insert(more.begin(), search.begin(), search.end());
        return more;
    };
    expect_failure(2, "--continuation does nothing: it goes with --objective continuation",
                   searching({"--continuation", "16"}));
    expect_failure(2, "--weigh does nothing: it goes with --objective continuation, or --refit",
                   searching({"--weigh", "1", "--correct", "1"}));
    expect_failure(2, "--weigh does nothing: it goes with --correct RANK or --refit PLAN",
                   searching({"--weigh", "1", "--objective", "continuation"}));
    expect_failure(2, "--refit searches nothing: --keep-last takes one number with it",
                   {"select-layers", "--calibration", text_, "-o", dir_.file("x.json"), "--refit",
                    prompt_plan_, "--keep-last", "0,4"});
    const std::string whole =
        "keeps the whole prompt of 48 rows, in which nothing would be selected";
    const std::vector<std::string> on_windows_of_64 = {
        "--objective", "continuation", "--continuation", "16", "--seqlen", "64"};
    for (const char *keep_last : {"48", "0,100"}) {
        std::vector<std::string> more = on_windows_of_64;
        more.insert(more.end(), {"--keep-last", keep_last});
        expect_failure(2, whole, searching(more));
        more.insert(more.begin(),
                    {"select-layers", "--calibration", text_, "-o", dir_.file("x.json"), "--joint",
                     "--sparsity", "20%", "--correct", "1"});
        expect_failure(2, whole, more);
    }
    expect_failure(2, "keep_last 4 keeps the whole prompt of 4 rows",
                   {"select-layers", "--calibration", text_, "-o", dir_.file("x.json"), "--refit",
                    prompt_plan_, "--seqlen", "4"});
    const std::string of_decode = dir_.file("decode.json");
    write_bytes(of_decode, plan_with(R"("apply": "decode", )"));
    expect_failure(2, "decode.json: \"keep_last\" does nothing with \"apply\" \"decode\"",
                   {"select-layers", "--calibration", text_, "-o", dir_.file("x.json"), "--refit",
                    of_decode, "--keep-last", "2"});
    expect_failure(2, "decode.json: \"keep_last\" does nothing with \"apply\" \"decode\"",
                   {"generate", "-p", "x", "--plan", of_decode, "--keep-last", "3"});
    expect_failure(2, "--keep-last names 4 twice",
                   searching({"--objective", "continuation", "--keep-last", "4,0,4"}));
    expect_failure(
        2, "--keep-last does nothing: a removed layer computes no row",
        searching({"--objective", "continuation", "--convert", "skip", "--keep-last", "4"}));
    expect_failure(2, "--apply does nothing: no arm is a plan",
                   {"bench", "--prefill", "8", "--apply", "prefill"});
    expect_failure(2, "--keep-last does nothing with --apply decode",
                   {"bench", "--prefill", "8", "--arms", prompt_plan_, "--apply", "decode",
                    "--keep-last", "3"});
    expect_failure(2, "unknown objective 'prompt' (known: all, continuation)",
                   searching({"--objective", "prompt"}));
    expect_failure(2, "--query-window does nothing: only policy query asks the last rows",
                   searching({"--query-window", "4"}));
    expect_failure(2, "--inherit does nothing: a removed layer computes no row",
                   searching({"--inherit", "--convert", "skip"}));
    expect_failure(2, "with it a layer may become one thing, such as --choices 0.1",
                   {"select-layers", "--calibration", text_, "-o", dir_.file("x.json"), "--joint",
                    "--inherit", "--sparsity", "20%", "--correct", "1"});
    const std::string uneven = dir_.file("uneven.json");
    write_bytes(uneven, R"({"format": "orthorank-plan", "version": 1, "model": {"n_layers": 3},
        "layers": [{"index": 1, "action": "select", "ratio": 0.5},
                   {"index": 2, "action": "select", "ratio": 0.25}]})");
    expect_failure(2, "uneven.json has ratio 0.5 in layer 1 and 0.25 in layer 2; make them one",
                   {"select-layers", "--calibration", text_, "--seqlen", "250", "-o",
                    dir_.file("x.json"), "--refit", uneven, "--inherit", "--correct", "1"});
    expect_failure(2, "--policy inherit takes the rows of an earlier layer",
                   searching({"--policy", "inherit"}));
    expect_failure(
        2, "a continuation of 64 tokens leaves no prompt in a window of 64",
        searching({"--objective", "continuation", "--continuation", "64", "--seqlen", "64"}));
}

TEST_F(PromptPlanCommands, SearchesFitsAndTimes) {
    const std::string out = dir_.file("found.json");
    const std::vector<std::string> calibration = {"--calibration", text_, "--seqlen",
                                                  "250",           "-o",  out};
    std::vector<std::string> search = {"select-layers",
                                       "--objective",
                                       "continuation",
                                       "--continuation",
                                       "16",
                                       "--keep-last",
                                       "2",
                                       "--retrieval",
                                       "1",
                                       "--layers",
                                       "1",
                                       "--ratio",
                                       "0.2"};
    search.insert(search.end(), calibration.begin(), calibration.end());
    run_json(search);
    const json found = json::parse(read_text_file(out));
    EXPECT_EQ(found["apply"], "prefill");
    EXPECT_EQ(found["keep_last"], 2);
    EXPECT_EQ(found["provenance"]["objective"], "continuation");
    EXPECT_EQ(found["provenance"]["calibration"]["retrieval"], 1);

    // Of several numbers of kept rows the plan has the one that loses least, as recorded.
    for (const bool is_joint : {false, true}) {
        std::vector<std::string> choosing = {"select-layers",  "--objective", "continuation",
                                             "--continuation", "16",          "--keep-last",
                                             "0,30,100"};
        const std::vector<std::string> how =
            is_joint ? std::vector<std::string>{"--joint",   "--sparsity", "20%",
                                                "--correct", "1",          "--kl-windows",
                                                "1",         "--choices",  "0.2"}
                     : std::vector<std::string>{"--layers", "1", "--ratio", "0.2"};
        choosing.insert(choosing.end(), how.begin(), how.end());
        choosing.insert(choosing.end(), calibration.begin(), calibration.end());
        run_json(choosing);
        const json chosen = json::parse(read_text_file(out));
        const json &costs = chosen["provenance"]["keep_last_choices"];
        ASSERT_EQ(costs.size(), 3u);
        json best = costs[0];
        for (const json &cost : costs) {
            best = cost["cost"] < best["cost"] ? cost : best;
        }
        EXPECT_EQ(chosen.value("keep_last", 0), best["keep_last"].get<int>());
        EXPECT_NE(costs[0]["cost"], costs[2]["cost"]);
        EXPECT_EQ(chosen["provenance"]["keep_last"], best["keep_last"]);
        EXPECT_EQ(chosen["provenance"]["searched_keep_last"], 0);
        if (!is_joint) {
            // Fitted with other rows kept, and inherited: the record says so, not what it was.
            const std::string other = dir_.file("other.json");
            run_json({"select-layers", "--calibration", text_, "--seqlen", "250", "-o", other,
                      "--refit", out, "--correct", "1", "--keep-last", "7", "--inherit"});
            const json refitted = json::parse(read_text_file(other));
            EXPECT_EQ(refitted["keep_last"], 7);
            EXPECT_EQ(refitted["provenance"]["keep_last"], 7);
            EXPECT_EQ(refitted["provenance"]["searched_keep_last"], 0);
            EXPECT_EQ(refitted["provenance"]["inherit"], true);
            EXPECT_FALSE(refitted["provenance"].contains("keep_last_choices"));
        }
    }

    // Policies that only prompts have scores of make plans for prompts, whatever the objective.
    std::vector<std::string> asking = {
        "select-layers", "--policy", "query", "--query-window", "5", "--layers", "1",
        "--ratio",       "0.2"};
    asking.insert(asking.end(), calibration.begin(), calibration.end());
    run_json(asking);
    const std::string one = dir_.file("one.json");
    ASSERT_EQ(run({"select-layers", "--from", out, "--layers", "1", "-o", one}).exit_code, 0);
    for (const std::string &path : {out, one}) {
        const json asked = json::parse(read_text_file(path));
        EXPECT_EQ(asked["version"], 3);
        EXPECT_EQ(asked["apply"], "prefill");
        EXPECT_EQ(asked["layers"][0]["policy"], "query");
        EXPECT_EQ(asked["layers"][0]["window"], 5);
        EXPECT_EQ(asked["provenance"]["window"], 5);
    }

    // One choice of rows for all layers, from a search, from its record, and from another plan.
    std::vector<std::string> once = {
        "select-layers", "--method", "shortened-ppl", "--no-plus", "--inherit",
        "--layers",      "3",        "--ratio",       "0.2"};
    once.insert(once.end(), calibration.begin(), calibration.end());
    run_json(once);
    ASSERT_EQ(run({"select-layers", "--from", out, "--layers", "2", "-o", one}).exit_code, 0);
    for (const auto &[path, n] : {std::pair{out, 3u}, {one, 2u}}) {
        const json found_once = json::parse(read_text_file(path));
        ASSERT_EQ(found_once["layers"].size(), n);
        EXPECT_EQ(found_once["layers"][0]["policy"], "orthogonal");
        EXPECT_EQ(found_once["layers"][n - 1]["policy"], "inherit");
        EXPECT_EQ(found_once["provenance"]["inherit"], true);
    }

    // A plan written by hand, whose numbers are not there yet.
    std::vector<std::string> refit = {
        "select-layers", "--refit", prompt_plan_, "--correct",      "2", "--policy",
        "probe",         "--weigh", "0.5",        "--continuation", "16"};
    refit.insert(refit.end(), calibration.begin(), calibration.end());
    run_json(refit);
    const json fitted = json::parse(read_text_file(out));
    EXPECT_EQ(fitted["layers"][0]["policy"], "probe");
    EXPECT_EQ(fitted["layers"][1]["policy"], "inherit");
    EXPECT_EQ(fitted["layers"][1]["correction"]["rank"], 2);
    EXPECT_EQ(fitted["keep_last"], 4);
    EXPECT_EQ(fitted["provenance"]["correction"]["weigh"], 0.5);
    EXPECT_EQ(fitted["provenance"]["correction"]["continuation"], 16);

    const json keys = run_json({"eval", "--tasks", "passkey", "--text", text_, "--lengths", "250",
                                "--depths", "20,80", "--count", "1", "--plan", out})["results"];
    ASSERT_EQ(keys.size(), 2u);
    EXPECT_EQ(keys[1]["length"], 250);
    EXPECT_EQ(keys[1]["depths"].size(), 2u);

    const json times = run_json({"bench", "--arms", "libllama,dense," + out, "--ttft", "32", "-f",
                                 text_, "--repetitions", "1"})["results"];
    const json of_all = run_json({"bench", "--arms", out, "--prefill", "32", "-f", text_,
                                  "--repetitions", "1", "--keep-last", "31"})["results"];
    EXPECT_LT(of_all[0]["speed_up_bound"].get<double>(), times[2]["speed_up_bound"].get<double>());
    ASSERT_EQ(times.size(), 3u);
    for (const json &row : times) {
        EXPECT_EQ(row["phase"], "first token");
    }
    EXPECT_GT(times[2]["speed_up_bound"].get<double>(), 1.0);
}

}  // namespace
}  // namespace orthorank::test
