// cpu_attention() in registers of AVX2.
#ifdef __x86_64__

#include "graph/cpu_attention_group.h"

namespace orthorank {

const AttentionKernel k_attention_avx2 = Group<Lanes8>::kernel();

}  // namespace orthorank

#endif
