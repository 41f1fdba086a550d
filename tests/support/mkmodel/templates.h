/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/templates.h - chat templates of our own in Jinja, as a model carries them.
 * All of them end a generation prompt with "<|im_start|>assistant\n", where scripts begin. */
#ifndef RM_MKMODEL_TEMPLATES_H
#define RM_MKMODEL_TEMPLATES_H

/* "chatml", "hermes" (tools in XML tags) or "think" (reasoning in <think>); static text, NULL:
 * unknown. */
const char *template_named(const char *name);

#endif
