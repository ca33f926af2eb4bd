# add_room(name [links...]): the static library of one room, src/<name>/*.cpp. A room may include
# itself and the rooms it links; tests/structure/structure_test.cpp reads the includes.
add_library(orthorank_options INTERFACE)
target_include_directories(orthorank_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(orthorank_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       -Wno-sign-conversion)
# Any x86-64 of the last decade; what needs more is chosen when the program runs (src/CMakeLists.txt).
# No contraction: plain arithmetic gives the same bits everywhere.
target_compile_options(orthorank_options INTERFACE -ffp-contract=off)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(orthorank_options INTERFACE -march=x86-64-v2)
endif()
# For the files of Eigen's products alone, the sources' and the tests', since its inline functions
# differ by processor.
set(ORTHORANK_NATIVE_OPTIONS "")
if(ORTHORANK_NATIVE)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=native ORTHORANK_HAS_MARCH_NATIVE)
  if(ORTHORANK_HAS_MARCH_NATIVE)
    set(ORTHORANK_NATIVE_OPTIONS -march=native)
  endif()
endif()
if(ORTHORANK_WERROR)
  target_compile_options(orthorank_options INTERFACE -Werror)
endif()
if(ORTHORANK_SANITIZE)
  target_compile_options(orthorank_options INTERFACE -fsanitize=${ORTHORANK_SANITIZE}
                         -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(orthorank_options INTERFACE -fsanitize=${ORTHORANK_SANITIZE})
endif()
# Libraries of an installed llama.cpp may need others beside them and not say where. The loader finds
# these by a program's RPATH; its successor RUNPATH counts for what the program itself names.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
  target_link_options(orthorank_options INTERFACE LINKER:--disable-new-dtags)
endif()
target_link_libraries(orthorank_options INTERFACE fmt::fmt nlohmann_json::nlohmann_json
                      Threads::Threads)
if(OpenMP_CXX_FOUND)
  target_link_libraries(orthorank_options INTERFACE OpenMP::OpenMP_CXX)
endif()

# use_precompiled_headers(target [header...]): all targets share those of base, but where headers are
# given. Files must compile without them: the dev preset does.
function(use_precompiled_headers target)
  if(NOT ORTHORANK_PCH)
    return()
  endif()
  if(ARGN)
    target_precompile_headers(${target} PRIVATE ${ARGN})
  elseif(target STREQUAL "orthorank_base")
    target_precompile_headers(orthorank_base PRIVATE <algorithm> <cmath> <filesystem> <functional> <map>
      <memory> <optional> <span> <string> <vector> <fmt/format.h> <nlohmann/json.hpp>)
  else()
    target_precompile_headers(${target} REUSE_FROM orthorank_base)
  endif()
  cmake_language(EVAL CODE "cmake_language(DEFER CALL leave_own_flags_alone ${target})")
endfunction()

# A file with flags of its own is compiled without precompiled headers: it might get nothing but their
# text, and with it functions that other files share, in instructions that not every processor has.
function(leave_own_flags_alone target)
  get_target_property(sources ${target} SOURCES)
  foreach(source ${sources})
    get_source_file_property(flags ${source} COMPILE_OPTIONS)
    if(flags)
      set_source_files_properties(${source} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
endfunction()

# For code that computes next to nothing: half the time of -O3 to compile.
function(compile_lightly target)
  target_compile_options(${target} PRIVATE $<$<CONFIG:Release>:-O1>)
endfunction()

function(add_room name)
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/${name}/*.cpp)
  add_library(orthorank_${name} STATIC ${sources})
  target_link_libraries(orthorank_${name} PUBLIC orthorank_options)
  foreach(link ${ARGN})
    if(TARGET orthorank_${link})
      target_link_libraries(orthorank_${name} PUBLIC orthorank_${link})
    else()
      target_link_libraries(orthorank_${name} PUBLIC ${link})
    endif()
  endforeach()
  use_precompiled_headers(orthorank_${name})
endfunction()
