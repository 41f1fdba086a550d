# SPDX-License-Identifier: MIT
# What every folder's CMakeLists.txt uses: rm_library, rm_program, rm_unit_test.

add_library(rm_flags INTERFACE)
target_compile_options(rm_flags INTERFACE
  -Wall -Wextra -Wshadow -Wvla $<$<COMPILE_LANGUAGE:C>:-Wmissing-prototypes>
  -fno-omit-frame-pointer $<$<BOOL:${ROLEMESH_WERROR}>:-Werror>)
target_compile_definitions(rm_flags INTERFACE _GNU_SOURCE RM_VERSION="${PROJECT_VERSION}")
target_include_directories(rm_flags INTERFACE ${CMAKE_SOURCE_DIR})
if(ROLEMESH_SANITIZE)
  target_compile_options(rm_flags INTERFACE -fsanitize=${ROLEMESH_SANITIZE} -fno-sanitize-recover=all)
  target_link_options(rm_flags INTERFACE -fsanitize=${ROLEMESH_SANITIZE})
endif()
if(ROLEMESH_SANITIZE MATCHES "thread")
  add_library(rm_tsan_close OBJECT ${CMAKE_SOURCE_DIR}/tests/support/tsan_close.c) # says why itself
  target_compile_definitions(rm_tsan_close PRIVATE _GNU_SOURCE)
  target_compile_options(rm_tsan_close PRIVATE -Wall -Wextra -Wshadow $<$<BOOL:${ROLEMESH_WERROR}>:-Werror>)
  set(_rm_program_objects $<TARGET_OBJECTS:rm_tsan_close>)
endif()

# Link-time optimisation where the compiler has it: a request crosses many small functions of many files. Measured:
# a seventh less of the gateway's own CPU time.
if(CMAKE_BUILD_TYPE MATCHES "^Rel" AND NOT ROLEMESH_SANITIZE AND NOT DEFINED CMAKE_INTERPROCEDURAL_OPTIMIZATION)
  include(CheckIPOSupported)
  check_ipo_supported(RESULT ROLEMESH_HAS_LTO LANGUAGES C)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${ROLEMESH_HAS_LTO})
endif()

# rm_library(NAME SOURCES a.c ... LIBS lib ...): one folder's code as a static library.
function(rm_library name)
  cmake_parse_arguments(A "" "" "SOURCES;LIBS" ${ARGN})
  add_library(${name} STATIC ${A_SOURCES})
  target_link_libraries(${name} PUBLIC rm_flags ${A_LIBS})
endfunction()

# rm_program(NAME SOURCES main.c LIBS lib ...): a program in bin/.
function(rm_program name)
  cmake_parse_arguments(A "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${A_SOURCES} ${_rm_program_objects})
  target_link_libraries(${name} PRIVATE rm_flags ${A_LIBS})
endfunction()

# rm_unit_test(NAME SOURCES x_test.c LIBS lib ... [LABELS l ...] [ENV K=V ...]): a cmocka program that ctest runs
# from the source root, so that tests/data/... is where it looks.
function(rm_unit_test name)
  if(NOT ROLEMESH_UNIT_TESTS)
    return()
  endif()
  cmake_parse_arguments(A "" "" "SOURCES;LIBS;LABELS;ENV" ${ARGN})
  add_executable(${name} ${A_SOURCES} ${_rm_program_objects})
  target_link_libraries(${name} PRIVATE rm_flags ${A_LIBS} PkgConfig::CMOCKA)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "unit;${A_LABELS}" ENVIRONMENT "${A_ENV}")
endfunction()
