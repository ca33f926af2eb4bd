// cpu_attention() in registers of AVX-512.
#ifdef __x86_64__

#include "graph/cpu_attention_group.h"

namespace orthorank {

const AttentionKernel k_attention_avx512 = Group<Lanes16>::kernel();

}  // namespace orthorank

#endif
