// cpu_row_attention() in registers of AVX2.
#ifdef __x86_64__

#include "graph/cpu_row_attention_part.h"

namespace orthorank {

const RowAttentionKernel k_row_attention_avx2 = Part<Lanes8>::kernel();

}  // namespace orthorank

#endif
