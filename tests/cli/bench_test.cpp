// `orthorank bench` on a tiny model: every output has every arm and field. No time is asserted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "graph/cpu_level.h"
#include "support/command_fixture.h"

namespace orthorank::test {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::Gt;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;

class BenchCommand : public CommandTest {
 protected:
    std::vector<std::string> bench(const std::vector<std::string> &more) const {
        std::vector<std::string> arguments = {"bench",         "--arms", "libllama,dense," + plan_,
                                              "--repetitions", "2",      "--prefill",
                                              "20,40"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }
};

// Lines of cells; quotes do not occur in these files.
std::vector<std::vector<std::string>> csv_rows(const std::string &text) {
    std::vector<std::vector<std::string>> rows;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        rows.emplace_back();
        std::istringstream cells(line + ",");
        for (std::string cell; std::getline(cells, cell, ',');) {
            rows.back().push_back(cell);
        }
    }
    return rows;
}

std::string cell(const std::vector<std::vector<std::string>> &rows, size_t row,
                 const std::string &column) {
    const auto found = std::find(rows[0].begin(), rows[0].end(), column);
    return found == rows[0].end() ? "no column " + column
                                  : rows[row].at(static_cast<size_t>(found - rows[0].begin()));
}

size_t count(const std::string &text, const std::string &part) {
    size_t n = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
        ++n;
    }
    return n;
}

TEST_F(BenchCommand, RowsOfAllArmsAndShapes) {
    const json result = run_json(bench({"--decode", "3", "--depth", "0,8", "--batch", "1,2"}));
    EXPECT_THAT(result["text"].get<std::string>(), StartsWith("documentation, "));
    const json &rows = result["results"];
    ASSERT_THAT(rows, SizeIs(3 * 2 * (2 + 2)));
    for (size_t i = 0; i < rows.size(); ++i) {
        const json &row = rows[i];
        EXPECT_EQ(row["arm"], i % 3 == 0 ? "libllama" : i % 3 == 1 ? "dense" : "plan.json");
        EXPECT_EQ(row["file_type"], "F32");
        EXPECT_EQ(row["threads"], 1);
        EXPECT_THAT(row["seconds"], SizeIs(2));
        EXPECT_THAT(row["tokens_per_second"].get<double>(), Gt(0.0));
        EXPECT_EQ(row["speed_up_bound"].is_null(), i % 3 == 0);
        EXPECT_EQ(row["time_bound"].is_null(), i % 3 == 0);
        EXPECT_EQ(row["operations"].is_null(), i % 3 != 1);  // without --breakdown, dense only
        EXPECT_EQ(row["predicted_seconds"].is_null(), i % 3 == 0 || row["phase"] == "decode");
        EXPECT_THAT(row["speed_up_over_dense"]["median"].get<double>(), Gt(0.0));
        EXPECT_EQ(row["plan"], i % 3 == 2 ? json("plan.json") : json(nullptr));
        EXPECT_EQ(row["weights"], "file");
        const json &memory = row["memory_bytes"];
        EXPECT_EQ(memory["kv_cache"].is_null(), i % 3 == 0);
        if (i % 3 != 0) {
            int64_t sum = 0;
            for (const char *part :
                 {"weights", "kv_cache", "hidden_states", "compute_buffers", "corrections"}) {
                EXPECT_GE(memory[part], 0) << part;
                sum += memory[part].get<int64_t>();
            }
            EXPECT_EQ(memory["memory"], sum);
        }
        EXPECT_EQ(row["fractions_by_layer"].is_null(), i % 3 == 0);
    }
    // Two sequences have two caches.
    EXPECT_EQ(rows[4 * 3 + 1]["n_sequences"], 2);
    EXPECT_EQ(rows[4 * 3 + 1]["memory_bytes"]["kv_cache"],
              2 * rows[1]["memory_bytes"]["kv_cache"].get<int64_t>());
    EXPECT_EQ(rows[1]["speed_up_bound"], 1.0);
    EXPECT_EQ(rows[1]["time_bound"], 1.0);
    EXPECT_EQ(rows[1]["predicted_seconds"], rows[1]["seconds_median"]);
    EXPECT_NEAR(rows[2]["effective_sparsity"].get<double>(), 0.2, 1e-9);
    EXPECT_NEAR(rows[2]["fraction_of_rows_computed"].get<double>(), 0.4, 1e-9);
    EXPECT_THAT(rows[2]["speed_up_bound"].get<double>(), Gt(1.05));
    EXPECT_THAT(rows[2]["time_bound"].get<double>(), Gt(1.0));
}

TEST_F(BenchCommand, RooflineIsMeasuredInTheSameRun) {
    const json result = run_json(bench({"--decode", "3", "--roofline"}));
    const json &machine = result["machine"];
    EXPECT_THAT(machine["bytes_per_second"].get<double>(), Gt(1e8));
    const double peak =
        machine["flops_per_second"].is_null() ? 0 : machine["flops_per_second"].get<double>();
    EXPECT_EQ(peak > 1e8, best_cpu_level() != CpuLevel::none);
    for (const json &row : result["results"]) {
        const bool is_prefill = row["phase"] == "prefill";
        ASSERT_EQ(row["flops_per_second"].is_null(), !is_prefill);
        ASSERT_EQ(row["bytes_per_second"].is_null(), is_prefill);
        if (!is_prefill) {
            EXPECT_DOUBLE_EQ(
                row["share_of_bytes"].get<double>(),
                row["bytes_per_second"].get<double>() / machine["bytes_per_second"].get<double>());
        } else if (peak > 0) {
            EXPECT_DOUBLE_EQ(row["share_of_flops"].get<double>(),
                             row["flops_per_second"].get<double>() / peak);
            EXPECT_LT(row["share_of_flops"].get<double>(), 1);
        }
    }
    const json without = run_json(bench({}));
    EXPECT_EQ(without["machine"], nullptr);
    EXPECT_EQ(without["results"][0]["share_of_flops"], nullptr);
    EXPECT_THAT(run(bench({"--roofline"})).out, HasSubstr("this machine"));
}

TEST_F(BenchCommand, FilesInEveryFormat) {
    const std::string csv = dir_.file("b.csv");
    const std::string markdown = dir_.file("b.md");
    const std::string bars = dir_.file("b.svg");
    const std::string scale = dir_.file("scale.svg");
    write_bytes(dir_.file("text.txt"), std::string(200, 'x') + " the quick brown fox");
    const ProgramResult result =
        run(bench({"--breakdown", "--quality", dir_.file("text.txt"), "--quality-ctx", "32",
                   "--quality-windows", "2", "--csv", csv, "--markdown", markdown, "--svg", bars,
                   "--svg-scale", scale, "--json", dir_.file("b.json")}));
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_THAT(result.out, AllOf(HasSubstr("plan.json"), HasSubstr("time bound"),
                                  HasSubstr("prefill 40, ms"), HasSubstr("perplexity")));

    const json parsed = json::parse(read_bytes(dir_.file("b.json")));
    const auto rows = csv_rows(read_bytes(csv));
    ASSERT_THAT(rows, SizeIs(1 + 3 * 2));
    for (size_t i = 1; i < rows.size(); ++i) {
        EXPECT_THAT(rows[i], SizeIs(rows[0].size()));
        const json &row = parsed["results"][i - 1];
        EXPECT_EQ(cell(rows, i, "arm"), row["arm"]);
        EXPECT_EQ(cell(rows, i, "phase"), "prefill");
        EXPECT_EQ(cell(rows, i, "n_tokens"), std::to_string(row["n_tokens"].get<int>()));
        EXPECT_NEAR(
            std::stod(cell(rows, i, "tokens_per_second")) / row["tokens_per_second"].get<double>(),
            1.0, 1e-6);
        const bool is_libllama = row["arm"] == "libllama";
        EXPECT_EQ(cell(rows, i, "time_bound").empty(), is_libllama);
        EXPECT_EQ(cell(rows, i, "ppl").empty(), is_libllama);
        EXPECT_EQ(cell(rows, i, "memory_bytes"),
                  is_libllama ? "" : row["memory_bytes"]["memory"].dump());
        EXPECT_EQ(cell(rows, i, "weights"), "file");
        EXPECT_EQ(cell(rows, i, "ffn_seconds").empty(), is_libllama);
        EXPECT_EQ(row["perplexity"].is_null(), is_libllama);
    }
    EXPECT_EQ(parsed["results"][1]["perplexity"]["ratio_to_dense"], 1.0);
    EXPECT_NE(parsed["results"][2]["perplexity"]["ratio_to_dense"], 1.0);

    const std::string table = read_bytes(markdown);
    for (const char *arm : {"| libllama |", "| dense |", "| plan.json |"}) {
        EXPECT_GE(count(table, std::string("\n") + arm), 2u) << arm;
    }
    EXPECT_THAT(table, AllOf(HasSubstr("\n| attention |"), HasSubstr("F32, CPU, 1 threads"),
                             HasSubstr("| arm | model | type | device | threads | shape |"),
                             HasSubstr("| weights | KV cache | hidden states |")));
    // A background, and bars of the two arms that are not dense on two shapes.
    EXPECT_EQ(count(read_bytes(bars), "<rect"), 1u + 4u);
    EXPECT_EQ(count(read_bytes(scale), "<polyline"), 3u * 2u);
}

// x is whatever varies: lengths above, here sequences, then selecting layers.
TEST_F(BenchCommand, ScalePlotsAgainstSequencesAndSelectingLayers) {
    const std::string time = dir_.file("time.svg");
    const std::string memory = dir_.file("memory.svg");
    const auto plot = [&](const std::vector<std::string> &arguments) {
        std::vector<std::string> all = {"bench",           "--repetitions", "1",
                                        "--random-tokens", "--svg-scale",   time,
                                        "--svg-memory",    memory};
        all.insert(all.end(), arguments.begin(), arguments.end());
        const ProgramResult result = run(all);
        EXPECT_EQ(result.exit_code, 0) << result.err;
    };
    plot({"--arms", "libllama,dense," + plan_, "--prefill", "20", "--batch", "1,2,4"});
    EXPECT_THAT(read_bytes(time), AllOf(HasSubstr(">sequences</text>"), HasSubstr(">4</text>")));
    EXPECT_EQ(count(read_bytes(time), "<polyline"), 3u * 2u);
    EXPECT_EQ(count(read_bytes(memory), "<polyline"), 2u * 2u);  // not libllama's

    // On a logarithmic axis a depth of 0 had no place, and no line was drawn.
    plot({"--arms", "dense," + plan_, "--decode", "2", "--depth", "0,8,16"});
    EXPECT_THAT(read_bytes(time), Not(HasSubstr("nan")));
    EXPECT_GE(count(read_bytes(time), "<polyline"), 2u);

    plot({"--arms", "dense," + plan_, "--prefill", "20"});
    EXPECT_THAT(read_bytes(time), HasSubstr(">selecting layers</text>"));
    EXPECT_EQ(count(read_bytes(time), "<polyline"), 2u);

    plot({"--arms", "dense", "--decode", "2", "--depth", "8,16"});
    EXPECT_THAT(read_bytes(memory), HasSubstr(">tokens before</text>"));
}

TEST_F(BenchCommand, ProcessesLieOneAfterTheOther) {
    const json result = run_json(bench({"--processes", "2", "--random-tokens"}));
    EXPECT_EQ(result["text"], "random tokens, 40 tokens");
    EXPECT_EQ(result["n_processes"], 2);
    EXPECT_EQ(result["engine"]["threads"], 1);
    ASSERT_THAT(result["results"], SizeIs(6));
    for (const json &row : result["results"]) {
        EXPECT_THAT(row["seconds"], SizeIs(4));
        EXPECT_THAT(row["process_speed_ups_over_dense"], SizeIs(2));
    }
    EXPECT_FALSE(result["results"][1]["operations"].is_null());
    EXPECT_NEAR(result["results"][2]["fraction_of_rows_computed"].get<double>(), 0.4, 1e-9);
    EXPECT_THAT(result["results"][2]["fractions_by_layer"], testing::Contains(0.4));
    EXPECT_GT(result["results"][2]["memory_bytes"]["kv_cache"], 0);
}

TEST_F(BenchCommand, SequencesOfAShortTextOverlapAndThatIsSaid) {
    const std::string file = dir_.file("short.txt");
    write_bytes(file, "the quick brown fox jumps over the lazy dog and goes on and on");
    const json result = run_json({"bench", "--arms", "dense", "--prefill", "20", "--batch", "8",
                                  "--repetitions", "1", "-f", file});
    EXPECT_THAT(result["text"].get<std::string>(),
                AllOf(StartsWith(file), HasSubstr("too few for 8 x prefill 20")));
}

TEST_F(BenchCommand, BadValuesGetOneLine) {
    expect_failure(2, "nothing to run", {"bench"});
    expect_failure(2, "unknown arm 'densee' (known: libllama, dense",
                   {"bench", "--prefill", "8", "--arms", "densee"});
    expect_failure(2, "named twice", {"bench", "--prefill", "8", "--arms", "dense,dense"});
    expect_failure(2, "--prefill", {"bench", "--prefill", "8,x"});
    expect_failure(2, "--batch", {"bench", "--prefill", "8", "--batch", "0"});
    expect_failure(2, "standard output",
                   {"bench", "--prefill", "8", "--csv", "-", "--markdown", "-"});
    expect_failure(2, "--svg-scale", {"bench", "--prefill", "8", "--svg-scale", "x.svg"});
    expect_failure(2, "excludes", {"bench", "--prefill", "8", "-f", "x", "--random-tokens"});
    expect_failure(1, "4000 tokens do not fit into the model's context of 2048",
                   {"bench", "--prefill", "4000", "--processes", "2"});
    expect_failure(1, "cannot be written", {"bench", "--prefill", "8", "--csv", "/none/x.csv"});
    write_bytes(dir_.file("short.txt"), "the quick");
    expect_failure(1, "100 are needed",
                   {"bench", "--prefill", "100", "-f", dir_.file("short.txt")});
    expect_failure(2, "is for decode alone, which is not measured here",
                   {"bench", "--arms", plan_, "--decode", "4", "--apply", "decode", "--quality",
                    dir_.file("short.txt")});
    // --field is the text's of --quality too.
    write_bytes(dir_.file("short.jsonl"), "{\"content\": \"the quick\"}\n");
    expect_failure(1, "--quality-ctx",
                   {"bench", "--arms", "dense", "--prefill", "4", "--quality",
                    dir_.file("short.jsonl"), "--field", "content"});
    expect_failure(2, "--field does nothing", {"bench", "--prefill", "8", "--field", "content"});
    expect_failure(
        1, "--quality-ctx",
        {"bench", "--arms", "dense", "--prefill", "4", "--quality", dir_.file("short.txt")});
}

}  // namespace
}  // namespace orthorank::test
