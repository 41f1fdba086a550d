/* SPDX-License-Identifier: MIT */
/* worker/core/template_shim.h - the few calls of llama-common that chat templates need, as C. Text
 * in, text out; no C++ exception leaves them. For template.c only. llama-common's headers change
 * between releases, so this file is compiled only against those of the very libllama that is
 * linked (FindLlamaEngine.cmake: target LlamaEngine::common). */
#ifndef RM_CORE_TEMPLATE_SHIM_H
#define RM_CORE_TEMPLATE_SHIM_H

#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct llama_model;
struct template_shim;

/* The model's own template. NULL on an error: why gets a line of text (NUL-terminated). */
struct template_shim *template_shim_open(const struct llama_model *model, char *why, size_t n_why);
void template_shim_close(struct template_shim *s);

struct template_shim_input {
    const char *messages;    /* JSON array, OpenAI's form */
    const char *tools;       /* JSON array or NULL */
    const char *tool_choice; /* "auto", "none", "required" or NULL */
    const char *kwargs;      /* JSON object or NULL */
    bool enable_thinking;
    bool add_bos, add_eos; /* the tokenizer adds them: the template's own are left out */
};

/* Renders; on success *prompt is malloc'ed, not NUL-safe by itself: *n bytes. Thread-safe. Returns
 * 0, -1 (the template or the messages; why says so) or -2 (no memory). */
int template_shim_render(const struct template_shim *s, const struct template_shim_input *in,
                         char **prompt, size_t *n, char *why, size_t n_why);

#ifdef __cplusplus
}
#endif

#endif
