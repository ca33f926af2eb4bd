# add_room(name [links...]): the static library of one room, src/<name>/*.cpp. A room may include
# itself and the rooms it links; tests/structure/structure_test.cpp reads the includes.
add_library(orthorank_options INTERFACE)
target_include_directories(orthorank_options INTERFACE ${PROJECT_SOURCE_DIR}/src)
target_compile_options(orthorank_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       -Wno-sign-conversion)
# All files alike, since Eigen's inline functions differ by processor. No contraction: plain
# arithmetic gives the same bits everywhere.
if(ORTHORANK_NATIVE)
  include(CheckCXXCompilerFlag)
  check_cxx_compiler_flag(-march=native ORTHORANK_HAS_MARCH_NATIVE)
  if(ORTHORANK_HAS_MARCH_NATIVE)
    target_compile_options(orthorank_options INTERFACE -march=native -ffp-contract=off)
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
target_link_libraries(orthorank_options INTERFACE fmt::fmt nlohmann_json::nlohmann_json
                      Threads::Threads)

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
endfunction()
