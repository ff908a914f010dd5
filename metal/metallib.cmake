# metalfaiss.metallib: the kernels of specialisations.txt, compiled ahead of time where Apple's compiler is (Xcode, or
# its Metal toolchain). Elsewhere nothing is built, and every kernel is compiled from its source when it first runs.
#
# metalfaiss_add_metallib(<target> <destination>)
function(metalfaiss_add_metallib target destination)
  find_program(XCRUN xcrun)
  if(NOT XCRUN)
    message(STATUS "Metal kernels: compiled at run time (no xcrun)")
    return()
  endif()
  execute_process(
    COMMAND ${XCRUN} -sdk macosx metal --version
    RESULT_VARIABLE failed
    OUTPUT_QUIET
    ERROR_QUIET
  )
  if(failed)
    message(STATUS "Metal kernels: compiled at run time (xcrun finds no Metal compiler)")
    return()
  endif()

  set(kernels "${CMAKE_CURRENT_SOURCE_DIR}/metal")
  file(GLOB sources CONFIGURE_DEPENDS ${kernels}/*.metal ${kernels}/include/*.h)
  set_property(
    DIRECTORY
    APPEND
    PROPERTY CMAKE_CONFIGURE_DEPENDS ${sources} ${kernels}/specialisations.txt ${kernels}/tools/specialise.py
  )
  python_says(files "${kernels}/tools/specialise.py" "${CMAKE_CURRENT_BINARY_DIR}/metal")
  string(REPLACE "\n" ";" files "${files}")
  list(LENGTH files count)
  if(count EQUAL 0)
    message(STATUS "Metal kernels: compiled at run time (specialisations.txt has none)")
    return()
  endif()

  # -fno-fast-math: as MLX compiles at run time (MathMode::Safe), so that both ways give the same results.
  set(flags -std=metal3.2 -fno-fast-math -Wno-unused-function)
  if(CMAKE_OSX_DEPLOYMENT_TARGET)
    list(APPEND flags -mmacosx-version-min=${CMAKE_OSX_DEPLOYMENT_TARGET})
  endif()
  set(objects)
  foreach(file IN LISTS files)
    set(object "${file}.air")
    add_custom_command(
      OUTPUT ${object}
      COMMAND ${XCRUN} -sdk macosx metal ${flags} -c ${file} -o ${object}
      DEPENDS ${file}
      COMMENT "Compiling ${file}"
    )
    list(APPEND objects ${object})
  endforeach()
  set(library "${CMAKE_CURRENT_BINARY_DIR}/metalfaiss.metallib")
  add_custom_command(
    OUTPUT ${library}
    COMMAND ${XCRUN} -sdk macosx metallib ${objects} -o ${library}
    DEPENDS ${objects}
    COMMENT "Linking metalfaiss.metallib"
  )
  add_custom_target(${target} ALL DEPENDS ${library})
  install(FILES ${library} DESTINATION ${destination})
  message(STATUS "Metal kernels: ${count} compiled ahead of time, others at run time")
endfunction()
