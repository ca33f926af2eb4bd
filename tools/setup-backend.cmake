# What tools/setup has CMake do beside llama/CMakeLists.txt where it builds a module: it finds its toolkit's libraries
# where it was built. CMake itself leaves their folder out of run paths, since the compiler looks there unasked; the
# loader does not.
function(add_toolkit_to_run_path)
  if(NOT TARGET ggml-cuda)
    return()
  endif()
  find_package(CUDAToolkit QUIET)
  if(IS_DIRECTORY "${CUDAToolkit_LIBRARY_DIR}")
    set_property(TARGET ggml-cuda APPEND PROPERTY INSTALL_RPATH "${CUDAToolkit_LIBRARY_DIR}")
  endif()
endfunction()
cmake_language(DEFER CALL add_toolkit_to_run_path)
