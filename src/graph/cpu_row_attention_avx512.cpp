// cpu_row_attention() in registers of AVX-512.
#ifdef __x86_64__

#include "graph/cpu_row_attention_part.h"

namespace orthorank {

const RowAttentionKernel k_row_attention_avx512 = Part<Lanes16>::kernel();

}  // namespace orthorank

#endif
