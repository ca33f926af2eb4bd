// Large blocks of memory on huge pages: matrices are read from end to end, and with 4 KiB pages
// every few rows cost a look into the page tables.
#pragma once

#include <ggml-backend.h>

namespace orthorank {

// Asks the system to back a buffer with huge pages: right after it was allocated, before anything
// is written to it. A wish: nothing happens for memory of other devices than CPUs, for small
// buffers, or where the system has no such pages. Not for mapped files. Thread-safe, never fails.
void advise_huge_pages(ggml_backend_buffer_t buffer);

}  // namespace orthorank
