// Damaged and foreign files: each gives one clear line, and none reaches an assertion of ggml.
#include "model/gguf_file.h"

#include <gguf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "model/model.h"
#include "support/errors.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

class GgufFileTest : public testing::Test {
 protected:
    GgufFileTest() : path_(dir_.file("m.gguf")) {}

    void expect_refused(ErrorKind kind, const std::string &part) {
        expect_error(kind, part, [&] { Model::load(path_); });
    }
    // The tiny model's bytes with `bytes` put at `offset`.
    void write_patched(size_t offset, const void *bytes, size_t n) {
        write_tiny_gguf(tiny_llama(), path_);
        std::string all = read_bytes(path_);
        std::memcpy(all.data() + offset, bytes, n);
        write_bytes(path_, all);
    }

    TempDir dir_;
    std::string path_;
};

TEST_F(GgufFileTest, ReadsScalarsArraysAndTensors) {
    write_tiny_gguf(tiny_llama(), path_);
    const GgufFile file(path_);
    EXPECT_EQ(file.text("general.architecture"), "llama");
    EXPECT_EQ(file.integer("llama.block_count", 1, 10), 3);
    EXPECT_EQ(file.integer("llama.no_such_key", 0, 10, 7), 7);
    EXPECT_EQ(file.integers("llama.attention.head_count", 3, 1, 10),
              (std::vector<int64_t>{4, 4, 4}));
    EXPECT_FLOAT_EQ(static_cast<float>(*file.find_number("llama.rope.freq_base")), 10000.0f);
    EXPECT_FALSE(file.find_text("general.author").has_value());
    EXPECT_EQ(file.texts("tokenizer.ggml.tokens").at(1), "<s>");
    const TensorInfo *tensor = file.find_tensor("blk.1.ffn_up.weight");
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->ne, (std::array<int64_t, 4>{64, 128, 1, 1}));
    EXPECT_EQ(tensor->n_bytes, 64 * 128 * 4);
    EXPECT_EQ(file.find_tensor("blk.9.ffn_up.weight"), nullptr);
}

TEST_F(GgufFileTest, NoFile) {
    expect_refused(ErrorKind::file, "No such file");
}

TEST_F(GgufFileTest, Directory) {
    expect_error(ErrorKind::file, "is a directory", [&] { Model::load(dir_.path().string()); });
}

TEST_F(GgufFileTest, EmptyFile) {
    write_bytes(path_, "");
    expect_refused(ErrorKind::format, "it has only 0 bytes");
}

TEST_F(GgufFileTest, NotGguf) {
    write_bytes(path_, std::string(100, 'x'));
    expect_refused(ErrorKind::format, "is not a GGUF file: it does not begin with \"GGUF\"");
}

TEST_F(GgufFileTest, OtherByteOrder) {
    write_patched(4, "\0\0\0\3", 4);
    expect_refused(ErrorKind::format, "other byte order");
}

TEST_F(GgufFileTest, OtherVersions) {
    for (const char version : {'\1', '\4'}) {
        const char bytes[4] = {version, 0, 0, 0};
        write_patched(4, bytes, 4);
        expect_refused(ErrorKind::format, "expected 2 to 3");
    }
}

TEST_F(GgufFileTest, HugeCounts) {
    const int64_t huge = int64_t{1} << 62;
    write_patched(8, &huge, 8);  // tensors
    expect_refused(ErrorKind::format, "truncated or damaged");
    write_patched(16, &huge, 8);  // keys
    expect_refused(ErrorKind::format, "truncated or damaged");
}

TEST_F(GgufFileTest, TruncatedAnywhere) {
    write_tiny_gguf(tiny_qwen3(), path_);
    const std::string all = read_bytes(path_);
    for (size_t n = 0; n + 64 < all.size(); n += n < 20000 ? 997 : 49999) {
        write_bytes(path_, all.substr(0, n));
        expect_refused(ErrorKind::format, n < 24 ? "not a GGUF file" : "truncated");
    }
    write_bytes(path_, all.substr(0, all.size() - 1000));
    expect_refused(ErrorKind::format, "truncated?");
}

// Any damage to the metadata is refused or harmless; nothing aborts.
TEST_F(GgufFileTest, RandomDamageNeverAborts) {
    write_tiny_gguf(tiny_mixtral(), path_);
    const std::string all = read_bytes(path_);
    const size_t n_metadata = all.find("blk.2.ffn_down_exps") + 64;
    std::mt19937 random(1);
    for (int i = 0; i < 300; i++) {
        std::string damaged = all;
        for (int j = 0; j < 3; j++) {
            damaged[random() % n_metadata] = static_cast<char>(random());
        }
        write_bytes(path_, damaged);
        try {
            Model::load(path_);
        } catch (const Error &error) {
            EXPECT_TRUE(error.kind() == ErrorKind::format || error.kind() == ErrorKind::file);
        }
    }
}

TEST_F(GgufFileTest, SplitFile) {
    TinyFile file = make_tiny_file(tiny_llama());
    gguf_set_val_u16(file.meta.get(), "split.count", 3);
    file.write(path_);
    expect_refused(ErrorKind::format, "one of 3 parts");
}

TEST_F(GgufFileTest, WrongKeyType) {
    TinyFile file = make_tiny_file(tiny_llama());
    gguf_set_val_str(file.meta.get(), "llama.block_count", "three");
    file.write(path_);
    expect_refused(ErrorKind::format,
                   "key llama.block_count: found string, expected a positive integer");
}

TEST_F(GgufFileTest, ShortPerLayerArray) {
    TinyFile file = make_tiny_file(tiny_llama());
    const int32_t heads[2] = {4, 4};
    gguf_set_arr_data(file.meta.get(), "llama.attention.head_count", GGUF_TYPE_INT32, heads, 2);
    file.write(path_);
    expect_refused(ErrorKind::format,
                   "found array of 2 i32, expected a positive integer, or 3 of them");
}

// Any power of two is a valid alignment, but the kernels want 32 bytes.
TEST_F(GgufFileTest, SmallAlignmentIsCopied) {
    TinyFile file = make_tiny_file(tiny_llama());
    gguf_set_val_u32(file.meta.get(), "general.alignment", 4);
    for (TinyTensor &tensor : file.tensors) {
        if (tensor.name.find("norm") != std::string::npos) {
            tensor.type = GGML_TYPE_F32;
        }
    }
    file.tensors.insert(file.tensors.begin(), {"odd", GGML_TYPE_F32, {3}, {1, 2, 3}});
    file.write(path_);
    const auto model = Model::load(path_);
    for (const auto &[name, bytes] : model->buffer_bytes()) {
        EXPECT_NE(name, "CPU_Mapped");
    }
}

}  // namespace
}  // namespace orthorank::test
