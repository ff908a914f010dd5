# macOS on Apple silicon, by zig (PyPI's ziglang) on any machine: a proof that the sources compile and link there.
# METALFAISS_MAC_TOOLS is a folder with zig's c++ and ar as commands of their own; __main__.py makes it.
set(CMAKE_SYSTEM_NAME Darwin)
set(CMAKE_SYSTEM_PROCESSOR arm64)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES METALFAISS_MAC_TOOLS)
set(CMAKE_CXX_COMPILER "${METALFAISS_MAC_TOOLS}/c++")
set(CMAKE_AR "${METALFAISS_MAC_TOOLS}/ar" CACHE FILEPATH "")
set(CMAKE_RANLIB "${METALFAISS_MAC_TOOLS}/ranlib" CACHE FILEPATH "")
set(CMAKE_INSTALL_NAME_TOOL true CACHE FILEPATH "") # what these two do is not part of the proof
set(CMAKE_STRIP true CACHE FILEPATH "")
set(CMAKE_OSX_SYSROOT "" CACHE STRING "")
set(stubs "${CMAKE_CURRENT_LIST_DIR}/stubs")
# zig adds -fsanitize=undefined to unoptimised code.
set(CMAKE_CXX_FLAGS_INIT "-target aarch64-macos.15.0 -fno-sanitize=undefined -isystem ${stubs}")
set(CMAKE_SHARED_LINKER_FLAGS_INIT "-F${stubs}/Frameworks")
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-F${stubs}/Frameworks")
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
