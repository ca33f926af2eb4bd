// Files in every type: made by libllama's quantiser, loaded here and by libllama, multiplied right.
#include <ggml-cpp.h>
#include <gtest/gtest.h>
#include <llama.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "model/file_type.h"
#include "model/model.h"
#include "model/vocab.h"
#include "support/cpu_backend.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

std::vector<std::string> all_types() {
    std::vector<std::string> names;
    std::string list = file_type_names() + ", ";
    while (!list.empty()) {
        const size_t end = list.find(", ");
        names.push_back(list.substr(0, end));
        list.erase(0, end + 2);
    }
    return names;
}

// A host tensor as F32.
std::vector<float> dequantised(const ggml_tensor *tensor) {
    std::vector<float> values(static_cast<size_t>(ggml_nelements(tensor)));
    if (tensor->type == GGML_TYPE_F32) {
        std::copy_n(static_cast<const float *>(tensor->data), values.size(), values.begin());
    } else {
        ggml_get_type_traits(tensor->type)
            ->to_float(tensor->data, values.data(), ggml_nelements(tensor));
    }
    return values;
}

// The weight times each of n vectors in x, by ggml's CPU back end.
std::vector<float> multiplied(ggml_tensor *weight, const std::vector<float> &x, int64_t n) {
    const ggml_context_ptr ctx{
        ggml_init({ggml_tensor_overhead() * 8 + ggml_graph_overhead(), nullptr, true})};
    ggml_tensor *input = ggml_new_tensor_2d(ctx.get(), GGML_TYPE_F32, weight->ne[0], n);
    ggml_tensor *result = ggml_mul_mat(ctx.get(), weight, input);
    ggml_cgraph *graph = ggml_new_graph(ctx.get());
    ggml_build_forward_expand(graph, result);
    const ggml_backend_ptr cpu{cpu_backend()};
    const ggml_backend_buffer_ptr buffer{ggml_backend_alloc_ctx_tensors(ctx.get(), cpu.get())};
    ggml_backend_tensor_set(input, x.data(), 0, ggml_nbytes(input));
    EXPECT_EQ(ggml_backend_graph_compute(cpu.get(), graph), GGML_STATUS_SUCCESS);
    std::vector<float> values(static_cast<size_t>(ggml_nelements(result)));
    ggml_backend_tensor_get(result, values.data(), 0, ggml_nbytes(result));
    return values;
}

// The same from dequantised values, in double precision.
std::vector<double> multiplied_exactly(const ggml_tensor *weight, const std::vector<float> &x) {
    const std::vector<float> w = dequantised(weight);
    const auto n_in = static_cast<size_t>(weight->ne[0]);
    std::vector<double> values;
    for (size_t x0 = 0; x0 < x.size(); x0 += n_in) {
        for (size_t w0 = 0; w0 < w.size(); w0 += n_in) {
            double sum = 0;
            for (size_t i = 0; i < n_in; i++) {
                sum += double{w[w0 + i]} * x[x0 + i];
            }
            values.push_back(sum);
        }
    }
    return values;
}

// Squared error relative to the expected values' squares.
double relative_error(const std::vector<float> &found, const std::vector<double> &expected) {
    double error = 0;
    double norm = 0;
    for (size_t i = 0; i < expected.size(); i++) {
        error += std::pow(found.at(i) - expected[i], 2);
        norm += expected[i] * expected[i];
    }
    return error / norm;
}

class QuantizeTest : public testing::TestWithParam<std::string> {
 protected:
    TempDir dir_;
};

TEST_P(QuantizeTest, LoadsAndMultiplies) {
    const std::string type = GetParam();
    const bool is_moe = type == "MXFP4_MOE";
    write_tiny_gguf(widened(is_moe ? tiny_mixtral() : tiny_llama_gqa_tied()), dir_.file("in.gguf"));
    quantize(dir_.file("in.gguf"), dir_.file("out.gguf"), type, /*pure=*/true);

    ModelOptions plain_options;
    plain_options.device = "CPU";
    plain_options.repack = false;
    ModelOptions fast_options = plain_options;
    fast_options.repack = true;
    const auto original = Model::load(dir_.file("in.gguf"), plain_options);
    const auto plain = Model::load(dir_.file("out.gguf"), plain_options);
    const auto fast = Model::load(dir_.file("out.gguf"), fast_options);
    EXPECT_EQ(plain->fingerprint(), original->fingerprint());
    EXPECT_EQ(file_type_number(plain->file_type()), file_type_number(type));

    ggml_tensor *weight = plain->weights().layers[1].attn_q;
    ggml_tensor *fast_weight = fast->weights().layers[1].attn_q;
    // One vector and many: the kernels differ.
    for (const int64_t n : {1, 40}) {
        std::vector<float> x(static_cast<size_t>(256 * n));
        for (size_t i = 0; i < x.size(); i++) {
            x[i] = std::sin(static_cast<float>(i));
        }
        const std::vector<double> expected = multiplied_exactly(weight, x);
        // The vectors are rounded to 8 bits at most.
        EXPECT_LT(relative_error(multiplied(weight, x, n), expected), 1e-3);
        EXPECT_LT(relative_error(multiplied(fast_weight, x, n), expected), 1e-3);
    }
}

INSTANTIATE_TEST_SUITE_P(All, QuantizeTest, testing::ValuesIn(all_types()),
                         [](const auto &test) { return test.param; });

class QuantizeErrorsTest : public testing::Test {
 protected:
    TempDir dir_;
};

TEST_F(QuantizeErrorsTest, UnknownType) {
    expect_error(ErrorKind::usage, "unknown quantisation 'Q9' (known: F32, F16, BF16, Q8_0",
                 [&] { quantize("in.gguf", "out.gguf", "Q9"); });
}

TEST_F(QuantizeErrorsTest, NamesInAnyCase) {
    write_tiny_gguf(tiny_llama(), dir_.file("in.gguf"));
    quantize(dir_.file("in.gguf"), dir_.file("out.gguf"), "q8_0");
    EXPECT_EQ(Model::load(dir_.file("out.gguf"))->file_type(), "Q8_0");
}

TEST_F(QuantizeErrorsTest, NothingIsLeftBehind) {
    expect_error(ErrorKind::file, "No such file",
                 [&] { quantize(dir_.file("in.gguf"), dir_.file("out.gguf"), "Q8_0"); });
    write_bytes(dir_.file("in.gguf"), std::string(100, 'x'));
    expect_error(ErrorKind::format, "not a GGUF file",
                 [&] { quantize(dir_.file("in.gguf"), dir_.file("out.gguf"), "Q8_0"); });
    write_tiny_gguf(tiny_llama(), dir_.file("in.gguf"));
    expect_error(ErrorKind::file, "cannot be written",
                 [&] { quantize(dir_.file("in.gguf"), dir_.file("no/out.gguf"), "Q8_0"); });
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1);
}

// The tiny files are real models to libllama too, with logits that differ from token to token.
class LibllamaTest : public testing::TestWithParam<TinyModel> {};

TEST_P(LibllamaTest, LoadsAndComputes) {
    const TempDir dir;
    write_tiny_gguf(GetParam(), dir.file("m.gguf"));
    Model::load(dir.file("m.gguf"));  // quiets libllama's log
    llama_model_params params = llama_model_default_params();
    const std::unique_ptr<llama_model, decltype(&llama_model_free)> model(
        llama_model_load_from_file(dir.file("m.gguf").c_str(), params), llama_model_free);
    ASSERT_NE(model, nullptr);
    llama_context_params context_params = llama_context_default_params();
    context_params.n_ctx = 256;
    context_params.n_threads = 1;
    context_params.n_threads_batch = 1;
    const std::unique_ptr<llama_context, decltype(&llama_free)> context(
        llama_init_from_model(model.get(), context_params), llama_free);
    ASSERT_NE(context, nullptr);
    std::vector<int32_t> tokens = {1, 50, 60, 70, 260, 275};
    ASSERT_EQ(llama_decode(context.get(), llama_batch_get_one(tokens.data(), 6)), 0);
    const float *logits = llama_get_logits_ith(context.get(), -1);
    double sum = 0;
    double sum_of_squares = 0;
    for (int i = 0; i < k_tiny_n_vocab; i++) {
        sum += logits[i];
        sum_of_squares += double{logits[i]} * logits[i];
    }
    const double mean = sum / k_tiny_n_vocab;
    const double deviation = std::sqrt(sum_of_squares / k_tiny_n_vocab - mean * mean);
    EXPECT_GT(deviation, 1) << "flat logits decide nothing";
    EXPECT_LT(deviation, 10);
}

INSTANTIATE_TEST_SUITE_P(All, LibllamaTest, testing::ValuesIn(tiny_models()),
                         [](const auto &test) { return test.param.name; });

}  // namespace
}  // namespace orthorank::test
