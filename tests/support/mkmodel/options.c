/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/options.c - `key=value` words to struct options, and the help text.
 * The tables below are the reference: a new key is one row. */
#include "options.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { SCRIPT_FILE_MAX = 1 << 20, OPTIONS_BAD = -1, OPTIONS_HELP = 1 };

const struct arch arch_table[] = {
    {"llama", ARCH_FFN_NORM, 2, "plain attention"},
    {"qwen3", ARCH_QK_NORM | ARCH_HEAD_DIM | ARCH_FFN_NORM, 2, "plain attention with Q/K norms"},
    {"qwen3moe", ARCH_MOE | ARCH_QK_NORM | ARCH_HEAD_DIM | ARCH_FFN_NORM, 2, "mixture of experts"},
    {"gemma3",
     ARCH_QK_NORM | ARCH_HEAD_DIM | ARCH_FFN_NORM | ARCH_POST_NORM | ARCH_SWA | ARCH_GEMMA, 6,
     "sliding window, every sixth layer sees all"},
    {"gpt-oss", ARCH_MOE | ARCH_HEAD_DIM | ARCH_POST_NORM | ARCH_SWA | ARCH_OSS, 2,
     "experts, sliding window on every second layer"},
    {"deepseek2", ARCH_MOE | ARCH_FFN_NORM | ARCH_MLA, 2, "latent attention, shared expert"},
    {"mamba", ARCH_MAMBA, 2, "recurrent"},
    {"qwen35", ARCH_QK_NORM | ARCH_HEAD_DIM | ARCH_POST_NORM | ARCH_HYBRID, 4,
     "hybrid: recurrent, every fourth layer attends"},
    {NULL, 0, 0, NULL},
};

static const struct number_key {
    const char *key;
    size_t offset;
    uint32_t min, max, def; /* def 0: computed from other keys */
    const char *about;
} numbers[] = {
#define NUMBER(field, min, max, def, about)                                                        \
    {                                                                                              \
#field, offsetof(struct options, field), min, max, def, about                              \
    }
    NUMBER(layers, 1, 128, 0, "blocks (default: enough for every kind of layer)"),
    NUMBER(embd, 32, 8192, 64, "width; a multiple of heads"),
    NUMBER(heads, 1, 128, 4, "attention heads"),
    NUMBER(kvheads, 1, 128, 2, "key/value heads; divides heads"),
    NUMBER(headdim, 16, 512, 0, "width of a head (default: embd / heads, at least 16)"),
    NUMBER(ff, 32, 65536, 0, "feed-forward width (default: 3 * embd)"),
    NUMBER(experts, 2, 128, 8, "experts of a layer"),
    NUMBER(used, 1, 128, 2, "experts used for a token"),
    NUMBER(vocab, 0, 300000, 0, "tokens at least; filled up with made-up words"),
    NUMBER(ctx, 256, 1 << 20, 4096, "context_length in the metadata"),
    NUMBER(swa, 16, 65536, 128, "sliding window of gemma3 and gpt-oss"),
    NUMBER(seed, 0, UINT32_MAX, 1, "of the random weights"),
    NUMBER(tied, 0, 1, 0, "1: the output head is the embedding (random weights only)"),
    NUMBER(loop, 0, 1, 0, "1: the script starts again instead of ending"),
#undef NUMBER
};

static const struct text_key {
    const char *key;
    size_t offset;
    const char *def, *about;
    const char *choices; /* space-separated; NULL: anything */
} texts[] = {
    {"type", offsetof(struct options, type), "f32", "of the matrices", "f32 f16 q8_0 q4_0 q4_K"},
    {"name", offsetof(struct options, name), "test model", "general.name", NULL},
    {"tmpl", offsetof(struct options, tmpl), "chatml", "chat template", "chatml hermes think"},
    {"script", offsetof(struct options, script), NULL,
     "answer every chat prompt with this text (weights are made so).\n"
     "             TEXT is cut into tokens at spaces; A|B|C gives the pieces (\\p is a bar);\n"
     "             \\n newline, \\xHH byte, \\\\ backslash; @FILE takes a file as it is",
     NULL},
};

void options_help(FILE *to)
{
    fputs("usage: mkmodel ARCH OUT.gguf [key=value ...]\n"
          "Writes a small GGUF model with a vocabulary and a chat template of its own: random\n"
          "weights, or weights that make it answer a given text. Same arguments, same bytes.\n\n",
          to);
    for (const struct arch *a = arch_table; a->name != NULL; a++)
        fprintf(to, "  %-10s %s\n", a->name, a->about);
    fputs("\n", to);
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        fprintf(to, "  %-10s %s", numbers[i].key, numbers[i].about);
        if (numbers[i].def != 0)
            fprintf(to, " (%u)", (unsigned)numbers[i].def);
        fputs("\n", to);
    }
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        fprintf(to, "  %-10s %s", texts[i].key, texts[i].about);
        if (texts[i].choices != NULL)
            fprintf(to, ": %s (%s)", texts[i].choices, texts[i].def);
        fputs("\n", to);
    }
}

/* Is `word` one of the space-separated choices? */
static bool is_choice(const char *choices, const char *word)
{
    size_t n = strlen(word);

    for (const char *p = choices; (p = strstr(p, word)) != NULL && n > 0; p++) {
        if ((p == choices || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0'))
            return true;
    }
    return false;
}

static int read_script_file(struct options *o, const char *path, char *why, size_t n_why)
{
    FILE *f = fopen(path, "rb");
    size_t n;

    if (f == NULL) {
        snprintf(why, n_why, "script: cannot open %s: %s", path, strerror(errno));
        return OPTIONS_BAD;
    }
    o->script_file = calloc(1, SCRIPT_FILE_MAX + 2);
    n = o->script_file != NULL ? fread(o->script_file + 1, 1, SCRIPT_FILE_MAX, f) : 0;
    fclose(f);
    if (n == 0 || n == SCRIPT_FILE_MAX || strlen(o->script_file + 1) != n) {
        snprintf(why, n_why, "script: %s is empty, binary or over %d bytes", path, SCRIPT_FILE_MAX);
        return OPTIONS_BAD;
    }
    while (n > 0 && (o->script_file[n] == '\n' || o->script_file[n] == '\r'))
        o->script_file[n--] = '\0';
    o->script_file[0] = '@'; /* marks: the rest is the text itself, nothing escaped */
    o->script = o->script_file;
    return 0;
}

static int set_number(struct options *o, const struct number_key *k, const char *value, char *why,
                      size_t n_why)
{
    char *end;
    unsigned long long v;

    errno = 0;
    v = strtoull(value, &end, 10);
    if (end == value || *end != '\0' || *value == '-' || errno != 0 || v < k->min || v > k->max) {
        snprintf(why, n_why, "%s: expected a number from %u to %u", k->key, (unsigned)k->min,
                 (unsigned)k->max);
        return OPTIONS_BAD;
    }
    *(uint32_t *)(void *)((char *)o + k->offset) = (uint32_t)v;
    return 0;
}

static int set_text(struct options *o, const struct text_key *k, const char *value, char *why,
                    size_t n_why)
{
    if (k->choices != NULL && !is_choice(k->choices, value)) {
        snprintf(why, n_why, "%s: expected one of: %s", k->key, k->choices);
        return OPTIONS_BAD;
    }
    if (*value == '\0') {
        snprintf(why, n_why, "%s: is empty", k->key);
        return OPTIONS_BAD;
    }
    if (strcmp(k->key, "script") == 0 && *value == '@')
        return read_script_file(o, value + 1, why, n_why);
    *(const char **)(void *)((char *)o + k->offset) = value;
    return 0;
}

static int set_word(struct options *o, const char *word, char *why, size_t n_why)
{
    const char *eq = strchr(word, '=');
    size_t n = eq != NULL ? (size_t)(eq - word) : 0;

    for (size_t i = 0; n > 0 && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strlen(numbers[i].key) == n && strncmp(word, numbers[i].key, n) == 0)
            return set_number(o, &numbers[i], eq + 1, why, n_why);
    }
    for (size_t i = 0; n > 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
        if (strlen(texts[i].key) == n && strncmp(word, texts[i].key, n) == 0)
            return set_text(o, &texts[i], eq + 1, why, n_why);
    }
    snprintf(why, n_why, "unknown key in \"%s\" (mkmodel --help lists them)", word);
    return OPTIONS_BAD;
}

/* Fills what is computed from other keys and refuses what cannot be. */
static int settle(struct options *o, char *why, size_t n_why)
{
    unsigned traits = o->arch->traits;
    const char *wrong = NULL;

    if (o->layers == 0)
        o->layers = o->arch->layers;
    if (o->headdim == 0)
        o->headdim = o->embd / o->heads < 16 ? 16 : o->embd / o->heads;
    if (o->ff == 0)
        o->ff = 3 * o->embd;
    if (o->embd % o->heads != 0)
        wrong = "embd must be a multiple of heads";
    else if (o->heads % o->kvheads != 0)
        wrong = "kvheads must divide heads";
    else if (o->used > o->experts)
        wrong = "used must not be over experts";
    else if (o->headdim % 16 != 0)
        wrong = "headdim must be a multiple of 16 (it is embd / heads if not given)";
    else if ((traits & ARCH_MLA) != 0 && o->layers < 2)
        wrong = "deepseek2 needs two layers: the first is dense";
    else if ((traits & (ARCH_HEAD_DIM | ARCH_MLA | ARCH_MAMBA)) == 0 &&
             o->headdim != o->embd / o->heads)
        wrong = "this architecture has no headdim of its own";
    else if (o->loop != 0 && o->script == NULL)
        wrong = "loop needs a script";
    if (wrong == NULL)
        return 0;
    snprintf(why, n_why, "%s", wrong);
    return OPTIONS_BAD;
}

int options_parse(int argc, char **argv, struct options *o, char *why, size_t n_why)
{
    int r = 0;

    *o = (struct options){0};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options_help(stdout);
            return OPTIONS_HELP;
        }
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        *(uint32_t *)(void *)((char *)o + numbers[i].offset) = numbers[i].def;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        *(const char **)(void *)((char *)o + texts[i].offset) = texts[i].def;
    if (argc < 3) {
        snprintf(why, n_why, "expected ARCH and OUT.gguf (mkmodel --help explains)");
        return OPTIONS_BAD;
    }
    for (o->arch = arch_table; o->arch->name != NULL; o->arch++) {
        if (strcmp(o->arch->name, argv[1]) == 0)
            break;
    }
    if (o->arch->name == NULL) {
        snprintf(why, n_why, "unknown architecture \"%s\" (mkmodel --help lists them)", argv[1]);
        return OPTIONS_BAD;
    }
    o->out = argv[2];
    for (int i = 3; i < argc && r == 0; i++)
        r = set_word(o, argv[i], why, n_why);
    return r == 0 ? settle(o, why, n_why) : r;
}

void options_clear(struct options *o)
{
    free(o->script_file);
    *o = (struct options){0};
}
