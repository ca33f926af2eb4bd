// cpu_correction() in registers of AVX-512.
#ifdef __x86_64__

#include "graph/cpu_correction_rows.h"

namespace orthorank {

void correct_avx512(const CorrectionTask &task) {
    Corrector<Lanes16>(task).run();
}

}  // namespace orthorank

#endif
