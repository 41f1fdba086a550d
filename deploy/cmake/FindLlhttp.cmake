# SPDX-License-Identifier: MIT
# llhttp: the system's libllhttp if there is one, else the C sources that Debian ships in node-llhttp, compiled
# here with LLHTTP_STRICT_MODE. Defines the target Llhttp::llhttp and LLHTTP_FROM.
if(TARGET Llhttp::llhttp)
  return()
endif()
find_path(LLHTTP_INCLUDE_DIR llhttp.h PATHS /usr/share/include/llhttp)
find_library(LLHTTP_LIBRARY llhttp)
find_path(LLHTTP_SOURCE_DIR llhttp.c PATHS /usr/share/llhttp NO_DEFAULT_PATH)
if(LLHTTP_INCLUDE_DIR AND LLHTTP_LIBRARY)
  add_library(Llhttp::llhttp INTERFACE IMPORTED)
  target_include_directories(Llhttp::llhttp SYSTEM INTERFACE ${LLHTTP_INCLUDE_DIR})
  target_link_libraries(Llhttp::llhttp INTERFACE ${LLHTTP_LIBRARY})
  set(LLHTTP_FROM "libllhttp")
elseif(LLHTTP_INCLUDE_DIR AND LLHTTP_SOURCE_DIR)
  add_library(rm_llhttp STATIC ${LLHTTP_SOURCE_DIR}/api.c ${LLHTTP_SOURCE_DIR}/http.c
    ${LLHTTP_SOURCE_DIR}/llhttp.c)
  target_include_directories(rm_llhttp SYSTEM PUBLIC ${LLHTTP_INCLUDE_DIR})
  target_compile_definitions(rm_llhttp PRIVATE LLHTTP_STRICT_MODE)
  target_compile_options(rm_llhttp PRIVATE -O2 -w)
  add_library(Llhttp::llhttp ALIAS rm_llhttp)
  set(LLHTTP_FROM "node-llhttp sources")
endif()
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Llhttp REQUIRED_VARS LLHTTP_FROM LLHTTP_INCLUDE_DIR
  REASON_FAILURE_MESSAGE "install libllhttp-dev or node-llhttp (deploy/setup does it)")
