// cpu_correction() in registers of AVX2.
#ifdef __x86_64__

#include "graph/cpu_correction_rows.h"

namespace orthorank {

void correct_avx2(const CorrectionTask &task) {
    Corrector<Lanes8>(task).run();
}

}  // namespace orthorank

#endif
