/* SPDX-License-Identifier: MIT */
/* tests/support/mkmodel/script.c - see script.h. Plain text is cut before each space or newline
 * that follows a word; a word that occurs again gets a further token with the same text, and when a
 * short word has no spelling left it is joined with the next one. */
#include "script.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vocab.h"

static int hex(char c)
{
    return isdigit((unsigned char)c)                 ? c - '0'
           : (c = (char)(c | 32)) >= 'a' && c <= 'f' ? c - 'a' + 10
                                                     : -1;
}

/* One character of a script at *p, escapes undone; moves *p. */
static char next_char(const char **p, bool escaped)
{
    const char *s = *p;

    *p = s + 1;
    if (!escaped || s[0] != '\\' || s[1] == '\0')
        return s[0];
    *p = s + 2;
    if (s[1] == 'n')
        return '\n';
    if (s[1] == 'p')
        return '|';
    if (s[1] == 'x' && hex(s[2]) >= 0 && hex(s[3]) >= 0) {
        *p = s + 4;
        return (char)(hex(s[2]) * 16 + hex(s[3]));
    }
    return s[1];
}

static bool is_known(const struct script *s, int id)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->chain[i] == id)
            return true;
    }
    return false;
}

/* A word the tokenizer should find again when the answer comes back in the next prompt? */
static bool is_word(const char *text, size_t n)
{
    size_t i = n > 1 && text[0] == ' ';

    for (; i < n && isalpha((unsigned char)text[i]); i++)
        ;
    return i == n && n > 1;
}

/* Appends a token for the piece that is not in the chain yet. Returns false when there is none. */
static bool append(struct script *s, struct vocab *v, const char *text, size_t n)
{
    int id;

    if (s->n == SCRIPT_PIECES_MAX || n > VOCAB_PIECE_MAX)
        return false;
    if (is_word(text, n))
        (void)vocab_add_word(v, text, n); /* with merges; found by copy 0 below */
    for (unsigned copy = 0; (id = vocab_add_piece(v, text, n, copy)) >= 0; copy++) {
        if (!is_known(s, id)) {
            s->chain[s->n++] = id;
            return true;
        }
    }
    return false;
}

/* Length of the next piece of plain text: up to the next space or newline that follows a word. */
static size_t piece_length(const char *text)
{
    size_t i = 0;

    while (text[i] == ' ' || text[i] == '\n')
        i++;
    while (text[i] != '\0' && text[i] != ' ' && text[i] != '\n')
        i++;
    return i;
}

static bool parse_plain(struct script *s, struct vocab *v, const char *text)
{
    while (*text != '\0') {
        size_t n = piece_length(text);

        while (!append(s, v, text, n)) {
            size_t more = piece_length(text + n);

            if (more == 0 || n + more > VOCAB_PIECE_MAX)
                return false;
            n += more;
        }
        text += n;
    }
    return true;
}

static bool parse_pieces(struct script *s, struct vocab *v, const char *text)
{
    char piece[VOCAB_PIECE_MAX + 1];
    size_t n = 0;

    for (;;) {
        if (*text == '|' || *text == '\0') {
            if (n > 0 && !append(s, v, piece, n))
                return false;
            if (*text++ == '\0')
                return true;
            n = 0;
            continue;
        }
        if (n == VOCAB_PIECE_MAX)
            return false;
        piece[n++] = next_char(&text, true);
    }
}

int script_parse(struct script *s, struct vocab *v, const char *text, int loop, char *why,
                 size_t n_why)
{
    char *plain = NULL;
    bool ok;

    *s = (struct script){.chain = calloc(SCRIPT_PIECES_MAX + 2, sizeof(int))};
    if (s->chain == NULL || (plain = calloc(1, strlen(text) + 1)) == NULL) {
        snprintf(why, n_why, "out of memory");
        return -1;
    }
    s->chain[s->n++] = vocab_newline(v);
    if (text[0] == '@') {
        ok = parse_plain(s, v, text + 1);
    } else if (strchr(text, '|') != NULL) {
        ok = parse_pieces(s, v, text);
    } else {
        char *to = plain;

        for (const char *p = text; *p != '\0';)
            *to++ = next_char(&p, true);
        ok = parse_plain(s, v, plain);
    }
    free(plain);
    if (!ok || s->n < 2) {
        snprintf(why, n_why, "script: cannot be cut into distinct pieces of 1 to %d bytes",
                 VOCAB_PIECE_MAX);
        script_clear(s);
        return -1;
    }
    s->chain[s->n] = loop ? s->chain[1] : vocab_special(v, VOCAB_IM_END);
    s->n++;
    return 0;
}

void script_clear(struct script *s)
{
    free(s->chain);
    *s = (struct script){0};
}
