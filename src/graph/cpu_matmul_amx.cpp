// cpu_matmul() with AMX: 16 x 16 sums of bfloat16 products an instruction. The instructions are
// written out rather than taken from the compiler's header: GCC 12's ldtilecfg reads 8 bytes of the
// configuration for all it knows and may leave the others unwritten, and its tile loads may pass
// the stores before them. Each is told to touch memory, and the configuration is a constant.
#ifdef __x86_64__

#include "graph/cpu_matmul_bf16.h"

namespace orthorank {
namespace {

struct alignas(64) TileConfig {
    uint8_t palette = 1;
    uint8_t start_row = 0;
    uint8_t reserved[14] = {};
    uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
    uint8_t n_rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

constexpr TileConfig k_whole_tiles;

// Tiles 0 to 3 are sums of (first, second activations) x (first, second weights).
template <int tile>
void load_tile(const void *from) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(int64_t{64}), "i"(tile)
                 : "memory");
}

// of [16][stride] floats
template <int tile>
void load_sums(const float *from, size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride * sizeof(float)), "i"(tile)
                 : "memory");
}

template <int tile>
void store_sums(float *to, size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride * sizeof(float)), "i"(tile)
                 : "memory");
}

template <int tile>
void clear_tile() {
    asm volatile("tilezero %%tmm%c0" ::"i"(tile) : "memory");
}

template <int sum, int activations, int weights>
void add_products() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(sum), "i"(activations), "i"(weights)
                 : "memory");
}

struct Sums {
    static void begin() { asm volatile("ldtilecfg %0" ::"m"(k_whole_tiles) : "memory"); }
    static void end() { asm volatile("tilerelease" ::: "memory"); }

    static void start(const Block &block, const float *out, size_t stride) {
        if (!block.has_sums) {
            clear_tile<0>();
            clear_tile<1>();
            clear_tile<2>();
            clear_tile<3>();
            return;
        }
        load_sums<0>(out, stride);
        load_sums<1>(out + k_tile_rows, stride);
        load_sums<2>(out + k_tile_rows * stride, stride);
        load_sums<3>(out + k_tile_rows * stride + k_tile_rows, stride);
    }
    static constexpr double k_round_flops = 4 * 2.0 * k_tile_rows * k_tile_rows * k_tile_k;
    static float run_rounds(const uint32_t *operands, int64_t n) {
        alignas(64) float out[2 * k_tile_rows * 2 * k_tile_rows];
        begin();
        start({}, nullptr, 0);
        load_tile<4>(operands);
        load_tile<5>(operands + k_round_words / 4);
        load_tile<6>(operands + k_round_words / 2);
        load_tile<7>(operands + k_round_words / 4 * 3);
        for (int64_t round = 0; round < n; ++round) {
            add_products<0, 4, 6>();
            add_products<1, 4, 7>();
            add_products<2, 5, 6>();
            add_products<3, 5, 7>();
        }
        store(out, 2 * k_tile_rows);
        end();
        return out[0];
    }
    static void store(float *out, size_t stride) {
        store_sums<0>(out, stride);
        store_sums<1>(out + k_tile_rows, stride);
        store_sums<2>(out + k_tile_rows * stride, stride);
        store_sums<3>(out + k_tile_rows * stride + k_tile_rows, stride);
    }
};

struct Amx : Bf16Words, Sums {
    static void add(const Block &block, float *out, size_t stride) {
        constexpr int tile_words = k_tile_rows * k_words;
        start(block, out, stride);
        for (int64_t part = 0; part < block.n_parts; ++part) {
            const uint32_t *weights = block.panel + part * 2 * tile_words;
            load_tile<4>(block.first_rows + part * tile_words);
            load_tile<6>(weights);
            add_products<0, 4, 6>();
            load_tile<7>(weights + tile_words);
            add_products<1, 4, 7>();
            load_tile<5>(block.second_rows + part * tile_words);
            add_products<2, 5, 6>();
            add_products<3, 5, 7>();
        }
        store(out, stride);
    }
};

// (high + low) x (high + low) but for low x low, which is below the sums' own rounding. All four
// sums take the three products in one order, or a row's numbers would depend on where it stands.
struct SplitAmx : SplitBf16Words, Sums {
    static void add(const Block &block, float *out, size_t stride) {
        constexpr int low = k_words_of_part;
        constexpr int tile_words = 2 * low;
        start(block, out, stride);
        for (int64_t part = 0; part < block.n_parts; ++part) {
            const uint32_t *first = block.first_rows + part * tile_words;
            const uint32_t *second = block.second_rows + part * tile_words;
            const uint32_t *weights = block.panel + part * 2 * tile_words;
            load_tile<4>(first);
            load_tile<5>(weights);
            add_products<0, 4, 5>();
            load_tile<6>(weights + tile_words);
            add_products<1, 4, 6>();
            load_tile<7>(weights + low);
            add_products<0, 4, 7>();
            load_tile<7>(weights + tile_words + low);
            add_products<1, 4, 7>();
            load_tile<4>(first + low);
            add_products<0, 4, 5>();
            add_products<1, 4, 6>();
            load_tile<4>(second);
            add_products<2, 4, 5>();
            add_products<3, 4, 6>();
            add_products<3, 4, 7>();
            load_tile<7>(weights + low);
            add_products<2, 4, 7>();
            load_tile<4>(second + low);
            add_products<2, 4, 5>();
            add_products<3, 4, 6>();
        }
        store(out, stride);
    }
};

}  // namespace

const MatmulKernel k_matmul_amx = Panel<Amx>::kernel();
const MatmulKernel k_matmul_split_amx = Panel<SplitAmx>::kernel();

}  // namespace orthorank

#endif
