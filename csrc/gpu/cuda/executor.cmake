# libmetalfaiss_cuda.so: what the extension loads where the MLX that is installed is its CUDA variant. It is built with
# either variant, by a plain C++ compiler: MLX's CUDA symbols, and those of the libraries that MLX's CUDA variant brings
# (driver, NVRTC, cuBLAS), stay unresolved until then.
#
# CUDA's headers are those of PyPI's nvidia-cuda-runtime and nvidia-cuda-crt, or of a CUDA toolkit.
execute_process(
  COMMAND
    ${Python_EXECUTABLE} -c
    "import importlib.util as u; s = u.find_spec('nvidia'); print(';'.join(s.submodule_search_locations or []) if s else '')"
  OUTPUT_STRIP_TRAILING_WHITESPACE
  OUTPUT_VARIABLE nvidia_packages
)
list(TRANSFORM nvidia_packages APPEND "/cu13/include" OUTPUT_VARIABLE cuda_header_places)
find_path(
  METALFAISS_CUDA_INCLUDE
  crt/host_config.h
  HINTS ${cuda_header_places} $ENV{CUDA_HOME}/include
  PATHS /usr/local/cuda/include
)
if(NOT METALFAISS_CUDA_INCLUDE)
  message(WARNING "No CUDA executor: install nvidia-cuda-runtime and nvidia-cuda-crt for their headers.")
  return()
endif()

set(embedded_cuda "${CMAKE_CURRENT_BINARY_DIR}/cuda_kernels.cpp")
file(GLOB cuda_kernel_files CONFIGURE_DEPENDS metal/*.metal metal/include/*.h metal/cuda/*.h metal/tools/*.py)
add_custom_command(
  OUTPUT ${embedded_cuda}
  COMMAND ${Python_EXECUTABLE} "${CMAKE_CURRENT_SOURCE_DIR}/metal/tools/embed_cuda.py" ${embedded_cuda}
  DEPENDS ${cuda_kernel_files}
)
file(GLOB cuda_sources CONFIGURE_DEPENDS csrc/gpu/cuda/*.cpp)
add_library(metalfaiss_cuda MODULE ${cuda_sources} ${embedded_cuda})
target_include_directories(metalfaiss_cuda PRIVATE csrc)
target_include_directories(metalfaiss_cuda SYSTEM PRIVATE "${METALFAISS_CUDA_INCLUDE}")
target_compile_options(
  metalfaiss_cuda
  PRIVATE -Wall -Wextra -Wno-unused-parameter "SHELL:-idirafter ${CMAKE_CURRENT_SOURCE_DIR}/csrc/gpu/cuda"
)
target_link_libraries(metalfaiss_cuda PRIVATE mlx)
if(NOT SKBUILD_STATE STREQUAL "editable")
  set_target_properties(metalfaiss_cuda PROPERTIES UNITY_BUILD ON UNITY_BUILD_BATCH_SIZE 0)
endif()
set_target_properties(metalfaiss_cuda PROPERTIES INSTALL_RPATH "$ORIGIN;$ORIGIN/../mlx/lib")
install(TARGETS metalfaiss_cuda LIBRARY DESTINATION metalfaiss)
