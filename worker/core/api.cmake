# SPDX-License-Identifier: MIT
# The HTTP side of the inference core: requests, templates, answers. Included by CMakeLists.txt of this folder.
set(CORE_SHIM_SOURCES "")
set(CORE_SHIM_LIBS "")
if(TARGET LlamaEngine::common)
  enable_language(CXX)
  set(CORE_SHIM_SOURCES template_shim.cpp)
  set(CORE_SHIM_LIBS LlamaEngine::common)
endif()

rm_library(rm_core_api
  SOURCES request.c template.c prepare.c openai.c ready.c ${CORE_SHIM_SOURCES}
  LIBS rm_base PkgConfig::JANSSON PkgConfig::UV LlamaEngine::llama ${CORE_SHIM_LIBS})
if(TARGET LlamaEngine::common)
  target_compile_features(rm_core_api PRIVATE cxx_std_17)
  target_compile_definitions(rm_core_api PRIVATE CORE_HAS_JINJA)
endif()

rm_unit_test(core_request_test SOURCES request_test.c LIBS rm_core_api)
rm_unit_test(core_openai_test SOURCES openai_test.c LIBS rm_core_api)
