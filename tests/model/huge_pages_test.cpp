// Which memory asks for huge pages, as the system's own list of mappings tells.
#include "model/huge_pages.h"

#include <ggml-cpp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>

#include "model/model.h"
#include "support/paths.h"
#include "support/tiny_gguf.h"

namespace orthorank::test {
namespace {

// Whether the mapping around an address has the flag "hg".
bool asks_for_huge_pages(const void *address) {
    const auto at = reinterpret_cast<uintptr_t>(address);
    std::ifstream smaps("/proc/self/smaps");
    bool is_inside = false;
    for (std::string line; std::getline(smaps, line);) {
        uintptr_t first = 0, end = 0;
        char dash = 0;
        std::istringstream words(line);
        if (words >> std::hex >> first >> dash >> end && dash == '-') {
            is_inside = first <= at && at < end;
        } else if (is_inside && line.rfind("VmFlags:", 0) == 0) {
            return (line + " ").find(" hg ") != std::string::npos;
        }
    }
    return false;
}

class HugePages : public testing::Test {
 protected:
    static constexpr size_t k_n_bytes = 16 << 20;
    static constexpr size_t k_middle = k_n_bytes / 2;

    void SetUp() override {
        void *block =
            ::mmap(nullptr, k_n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(block, MAP_FAILED);
        ::madvise(block, k_n_bytes, MADV_HUGEPAGE);
        const bool is_shown = asks_for_huge_pages(static_cast<char *>(block) + k_middle);
        ::munmap(block, k_n_bytes);
        if (!is_shown) {
            GTEST_SKIP() << "this system has no huge pages, or does not show who asked for them";
        }
    }
};

TEST_F(HugePages, AreAskedForLargeBuffersOfTheHost) {
    for (const size_t n_bytes : {k_n_bytes, size_t{1} << 20}) {
        const ggml_backend_buffer_ptr buffer(
            ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), n_bytes));
        const char *middle =
            static_cast<const char *>(ggml_backend_buffer_get_base(buffer.get())) + n_bytes / 2;
        advise_huge_pages(buffer.get());
        EXPECT_EQ(asks_for_huge_pages(middle), n_bytes == k_n_bytes);
    }
}

// Not only plain ones: those in the CPU's own layout for multiplication are read most.
TEST_F(HugePages, AreAskedForWeightsInWhateverLayout) {
    TinyModel tiny = tiny_llama();
    tiny.n_embd = 256;
    tiny.n_ff = 8192;
    tiny.n_layers = 1;
    tiny.weight_type = GGML_TYPE_Q4_0;  // repacked on many processors
    const TempDir dir;
    write_tiny_gguf(tiny, dir.file("m.gguf"));
    ModelOptions options;
    options.device = "CPU";
    options.use_mmap = false;
    const auto model = Model::load(dir.file("m.gguf"), options);
    const ggml_tensor *up = model->weights().layers[0].ffn_up;
    EXPECT_TRUE(asks_for_huge_pages(static_cast<const char *>(up->data) + ggml_nbytes(up) / 2))
        << ggml_backend_buffer_name(up->buffer);
}

}  // namespace
}  // namespace orthorank::test
