// Does this compiler make working AMX code on this processor? Exit status 0: yes, or the processor
// has none. GCC 12 tells the optimiser that _tile_loadconfig reads 8 of its 64 bytes, drops the
// stores to the others, and the first tile instruction traps; ggml sets its tiles up just so.
// Compiled by tools/setup with ggml's optimisation flags.
#include <cstdint>
#include <cstdio>

#if defined(__AMX_INT8__) && defined(__linux__)
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

struct TileConfig {
    uint8_t palette = 0, start_row = 0, reserved[14] = {};
    uint16_t row_bytes[16] = {};
    uint8_t rows[16] = {};
};

static __attribute__((noinline)) void configure() {
    alignas(64) TileConfig config = {};
    config.palette = 1;
    for (int i = 0; i < 8; ++i) {
        config.rows[i] = 16;
        config.row_bytes[i] = 64;
    }
    _tile_loadconfig(&config);
}

int main() {
    const int k_request_permission = 0x1023, k_tile_data = 18;
    if (syscall(SYS_arch_prctl, k_request_permission, k_tile_data) != 0) {
        return 0;  // the kernel gives none: ggml asks too and goes without
    }
    configure();
    alignas(64) int8_t ones[1024];
    alignas(64) int32_t sums[256];
    for (int8_t &one : ones) {
        one = 1;
    }
    _tile_zero(0);
    _tile_loadd(1, ones, 64);
    _tile_loadd(2, ones, 64);
    _tile_dpbssd(0, 1, 2);
    _tile_stored(0, sums, 64);
    return sums[0] == 64 && sums[255] == 64 ? 0 : 1;
}
#else
int main() { return 0; }
#endif
