# SPDX-License-Identifier: MIT
# Targets for the tree as a whole: format (rewrites), format-check (fails on a difference) and tidy (clang-tidy over
# every C file of this build). The clang tools are pinned to 14, Debian 12's; a target says so when they are missing.
find_program(CLANG_FORMAT clang-format-14)
find_program(CLANG_TIDY clang-tidy-14)
find_program(RUN_CLANG_TIDY run-clang-tidy-14)
find_program(GIT git)

# rm_tree_target(NAME PROGRAM SHELL-TEXT): runs SHELL-TEXT in the source tree, or says which package PROGRAM is in.
function(rm_tree_target name program package text)
  if(program AND GIT)
    add_custom_target(${name} COMMAND sh -c "${text}" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} VERBATIM
      USES_TERMINAL)
  else()
    add_custom_target(${name} COMMAND ${CMAKE_COMMAND} -E echo "${name} needs git and ${package}: apt-get install ${package}"
      COMMAND ${CMAKE_COMMAND} -E false VERBATIM)
  endif()
endfunction()

set(_files "${GIT} ls-files -z '*.c' '*.h' '*.cpp'")
rm_tree_target(format "${CLANG_FORMAT}" clang-format-14 "${_files} | xargs -0 -r ${CLANG_FORMAT} -i")
rm_tree_target(format-check "${CLANG_FORMAT}" clang-format-14
  "${_files} | xargs -0 -r ${CLANG_FORMAT} --dry-run -Werror")
if(RUN_CLANG_TIDY)
  rm_tree_target(tidy "${CLANG_TIDY}" clang-tidy-14
    "${RUN_CLANG_TIDY} -quiet -clang-tidy-binary ${CLANG_TIDY} -p ${CMAKE_BINARY_DIR} \"${CMAKE_SOURCE_DIR}/(proto|gateway|worker|cli|tests)/.*\"")
else()
  rm_tree_target(tidy "" clang-tidy-14 "")
endif()
