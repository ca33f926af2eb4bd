# ggml and libllama: from CMAKE_PREFIX_PATH. The presets point it at .deps/llama, which `make deps`
# fills; a user with llama.cpp installed points it at that instead.
set(ORTHORANK_GGML_MIN 0.25.0)
set(ORTHORANK_LLAMA_MIN 0.5.0)

find_package(ggml CONFIG)
find_package(llama CONFIG)
if(NOT ggml_FOUND OR NOT llama_FOUND)
  message(FATAL_ERROR
    "ggml and libllama were not found under CMAKE_PREFIX_PATH='${CMAKE_PREFIX_PATH}'.\n"
    "Run `make deps`, or set CMAKE_PREFIX_PATH to an installed llama.cpp "
    "(accepted: ggml >= ${ORTHORANK_GGML_MIN}, libllama >= ${ORTHORANK_LLAMA_MIN}).")
endif()
find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(fmt REQUIRED)
find_package(Threads REQUIRED)
