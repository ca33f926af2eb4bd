// Graphs over mixtures of many experts have room for all their nodes.
#include <gtest/gtest.h>

#include <cmath>

#include "graph/taylor.h"
#include "support/engine_runs.h"
#include "support/paths.h"

namespace orthorank::test {
namespace {

TEST(ManyExperts, GradientsOfHundredsOverflowedTheGraph) {
    TinyModel tiny = tiny_mixtral();
    tiny.n_layers = 1;
    tiny.n_embd = 32;
    tiny.n_ff = 32;
    tiny.n_expert = 384;
    tiny.n_expert_used = 2;
    const TempDir dir;
    write_tiny_gguf(tiny, dir.file("tiny.gguf"));
    const auto model = load_on_cpu(dir.file("tiny.gguf"));
    const TaylorScores scores = taylor_scores(*model, random_tokens(8, 3), 8, 1);
    ASSERT_EQ(scores.scores.size(), 1u);
    EXPECT_TRUE(std::isfinite(scores.loss) && scores.loss > 0) << scores.loss;
    EXPECT_TRUE(std::isfinite(scores.scores[0]) && scores.scores[0] > 0) << scores.scores[0];
}

}  // namespace
}  // namespace orthorank::test
