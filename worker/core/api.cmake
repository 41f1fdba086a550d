# SPDX-License-Identifier: MIT
# The HTTP side of the inference core: requests, templates, answers. Included by CMakeLists.txt of this folder.
set(CORE_SHIM_SOURCES "")
set(CORE_SHIM_LIBS "")
if(TARGET LlamaEngine::common)
  set(CORE_SHIM_SOURCES template_shim.cpp)
  set(CORE_SHIM_LIBS LlamaEngine::common)
endif()

rm_library(rm_core_api
  SOURCES answer.c api.c openai.c options.c prepare.c ready.c request.c template.c text_shim.cpp ${CORE_SHIM_SOURCES}
  LIBS rm_base rm_http rm_core PkgConfig::JANSSON PkgConfig::UV LlamaEngine::llama ${CORE_SHIM_LIBS})
if(TARGET LlamaEngine::common)
  target_compile_features(rm_core_api PRIVATE cxx_std_17)
  target_compile_definitions(rm_core_api PRIVATE CORE_HAS_JINJA)
endif()
rm_program(rolemesh-core SOURCES main.c LIBS rm_core_api)

rm_unit_test(core_request_test SOURCES request_test.c LIBS rm_core_api)
rm_unit_test(core_openai_test SOURCES openai_test.c LIBS rm_core_api)
rm_unit_test(core_options_test SOURCES options_test.c LIBS rm_core_api)

# Models for the tests below, made at build time.
if(ROLEMESH_UNIT_TESTS AND TARGET LlamaEngine::ggml_base)
  set(CORE_TEST_MODELS ${CMAKE_BINARY_DIR}/tests/models)
  set(_files "")
  foreach(t chatml hermes think)
    add_custom_command(OUTPUT ${CORE_TEST_MODELS}/${t}.gguf
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CORE_TEST_MODELS}
      COMMAND mkmodel llama ${CORE_TEST_MODELS}/${t}.gguf tmpl=${t}
      DEPENDS mkmodel VERBATIM)
    list(APPEND _files ${CORE_TEST_MODELS}/${t}.gguf)
  endforeach()
  add_custom_target(core_test_models DEPENDS ${_files})
  rm_unit_test(core_prepare_test SOURCES prepare_test.c LIBS rm_core_api
    ENV MODELS=${CORE_TEST_MODELS})
  add_dependencies(core_prepare_test core_test_models)
endif()
