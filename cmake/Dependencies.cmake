# Libraries that the build uses. ggml and libllama come from CMAKE_PREFIX_PATH (variable or
# environment) if it is set: a user's own llama.cpp. Otherwise from .deps/llama, which `make deps` fills.
set(ORTHORANK_GGML_ACCEPTED 0.25)
set(ORTHORANK_LLAMA_ACCEPTED 0.5)
set(accepted "accepted: ggml ${ORTHORANK_GGML_ACCEPTED}.x with libllama ${ORTHORANK_LLAMA_ACCEPTED}.x")

if(DEFINED CMAKE_PREFIX_PATH AND NOT CMAKE_PREFIX_PATH STREQUAL "")
  set(llama_prefix "${CMAKE_PREFIX_PATH}")
elseif(NOT "$ENV{CMAKE_PREFIX_PATH}" STREQUAL "")
  set(llama_prefix "$ENV{CMAKE_PREFIX_PATH}")
else()
  set(llama_prefix "${PROJECT_SOURCE_DIR}/.deps/llama")
  set(CMAKE_PREFIX_PATH "${llama_prefix}")
endif()

# CMake remembers where it found things: forget that when it is told to look elsewhere.
if(DEFINED ORTHORANK_LLAMA_PREFIX AND NOT ORTHORANK_LLAMA_PREFIX STREQUAL llama_prefix)
  get_cmake_property(names CACHE_VARIABLES)
  list(FILTER names INCLUDE REGEX "^(ggml|llama|GGML|LLAMA)_")
  foreach(name ${names})
    unset(${name} CACHE)
  endforeach()
endif()
set(ORTHORANK_LLAMA_PREFIX "${llama_prefix}" CACHE INTERNAL "where ggml and libllama are looked for")

function(check_version package version accepted_version)
  string(REPLACE "." "\\." pattern "${accepted_version}")
  if(NOT version MATCHES "^${pattern}(\\.|$)")
    message(FATAL_ERROR "${package} ${version} was found in ${${package}_DIR}, which this program "
                        "does not work with (${accepted}).\n"
                        "Set CMAKE_PREFIX_PATH to another llama.cpp, or leave it unset and run `make deps`.")
  endif()
endfunction()

foreach(package ggml llama)
  find_package(${package} CONFIG QUIET)
  if(NOT ${package}_FOUND)
    message(FATAL_ERROR "${package} was not found under ${llama_prefix} (${accepted}).\n"
                        "Run `make deps`, or set CMAKE_PREFIX_PATH to an installed llama.cpp.")
  endif()
  string(TOUPPER ${package} PACKAGE)
  check_version(${package} "${${PACKAGE}_VERSION}" ${ORTHORANK_${PACKAGE}_ACCEPTED})
endforeach()
message(STATUS "ggml ${GGML_VERSION} and libllama ${LLAMA_VERSION} from ${llama_prefix}")

# libllama-common has llama.cpp's Jinja engine; its headers (include/llama-common) are not installed by
# llama.cpp itself but by tools/setup, so another prefix may lack them.
find_path(LLAMA_COMMON_INCLUDE_DIR llama-common/jinja/runtime.h PATHS ${LLAMA_INCLUDE_DIR} NO_DEFAULT_PATH)
find_library(LLAMA_COMMON_LIBRARY llama-common PATHS ${LLAMA_LIB_DIR} NO_DEFAULT_PATH)
if(LLAMA_COMMON_INCLUDE_DIR AND LLAMA_COMMON_LIBRARY)
  add_library(llama-common UNKNOWN IMPORTED)
  set_target_properties(llama-common PROPERTIES
    IMPORTED_LOCATION ${LLAMA_COMMON_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${LLAMA_COMMON_INCLUDE_DIR}
    INTERFACE_LINK_LIBRARIES llama)
endif()

find_package(CLI11 REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(fmt REQUIRED)
find_package(Eigen3 3.4 REQUIRED NO_MODULE)
find_package(Spectra REQUIRED)
find_package(Threads REQUIRED)
if(ORTHORANK_OPENMP)
  find_package(OpenMP)
endif()

# utf8proc, libcsv and cpp-httplib (Debian: libutf8proc-dev, libcsv-dev, libcpp-httplib-dev) come without CMake files of their own.
function(find_plain_library target header library package)
  find_path(${target}_INCLUDE_DIR ${header})
  find_library(${target}_LIBRARY ${library})
  if(NOT ${target}_INCLUDE_DIR OR NOT ${target}_LIBRARY)
    message(FATAL_ERROR "${target} was not found (${header}, lib${library}): install ${package}.")
  endif()
  add_library(${target}::${target} UNKNOWN IMPORTED)
  set_target_properties(${target}::${target} PROPERTIES
    IMPORTED_LOCATION ${${target}_LIBRARY}
    INTERFACE_INCLUDE_DIRECTORIES ${${target}_INCLUDE_DIR})
endfunction()
find_plain_library(utf8proc utf8proc.h utf8proc libutf8proc-dev)
find_plain_library(csv csv.h csv libcsv-dev)
# As in Debian's cpp-httplib.pc: its header has other classes without them.
find_plain_library(httplib httplib.h cpp-httplib libcpp-httplib-dev)
set_target_properties(httplib::httplib PROPERTIES INTERFACE_COMPILE_DEFINITIONS
  "CPPHTTPLIB_OPENSSL_SUPPORT;CPPHTTPLIB_ZLIB_SUPPORT;CPPHTTPLIB_BROTLI_SUPPORT")

find_program(ORTHORANK_CCACHE ccache)
if(ORTHORANK_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  # Without this ccache keeps nothing that was compiled with precompiled headers.
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros
      ${ORTHORANK_CCACHE})
endif()
