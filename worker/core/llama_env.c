/* SPDX-License-Identifier: MIT */
/* worker/core/llama_env.c - see llama_env.h. */
#include "llama_env.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <sodium.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "llama.h"
#include "proto/base/log.h"

enum { LINE_MAX_BYTES = 512 };

/* libllama's log; its callback may come from any thread. */
static struct {
    pthread_mutex_t lock;
    char line[LINE_MAX_BYTES]; /* the line being put together */
    size_t n;
    enum ggml_log_level level;  /* of that line */
    char cause[LINE_MAX_BYTES]; /* the first of the worst lines since the reset: what follows from
                                   it is told later */
    enum ggml_log_level cause_level;
} logged = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* A finished line: errors are kept for whoever decides what they mean; all goes to the debug log
 * (libllama logs no prompts). */
static void log_line(void)
{
    while (logged.n > 0 && (logged.line[logged.n - 1] == '\n' || logged.line[logged.n - 1] == ' '))
        logged.n--;
    logged.line[logged.n] = '\0';
    logged.n = 0;
    if (logged.line[0] == '\0')
        return;
    if (logged.level >= GGML_LOG_LEVEL_WARN && logged.level > logged.cause_level) {
        memcpy(logged.cause, logged.line, sizeof(logged.cause));
        logged.cause_level = logged.level;
    }
    rm_debug("llama", logged.line);
}

/* Text comes in parts; a part of level CONT goes on at the level of the part before it. */
static void on_log(enum ggml_log_level level, const char *text, void *user)
{
    (void)user;
    pthread_mutex_lock(&logged.lock);
    if (level != GGML_LOG_LEVEL_CONT) {
        if (logged.n > 0)
            log_line();
        logged.level = level;
    }
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            log_line();
        else if (logged.n < sizeof(logged.line) - 1)
            logged.line[logged.n++] = (unsigned char)*text < ' ' ? ' ' : *text;
    }
    pthread_mutex_unlock(&logged.lock);
}

void llama_env_first_error(char *text, size_t n)
{
    pthread_mutex_lock(&logged.lock);
    snprintf(text, n, "%s", logged.cause);
    pthread_mutex_unlock(&logged.lock);
}

void llama_env_reset_error(void)
{
    pthread_mutex_lock(&logged.lock);
    logged.cause[0] = '\0';
    logged.cause_level = GGML_LOG_LEVEL_NONE;
    pthread_mutex_unlock(&logged.lock);
}

int llama_env_same_release(const char *a, const char *b)
{
    int dots = 0;

    for (; *a == *b; a++, b++) {
        if (*a == '\0' || (*a == '.' && ++dots == 2))
            return dots >= 1;
    }
    /* one ends behind major.minor, the other goes on with more than digits */
    return dots == 1 && strchr(".-+", *a) != NULL && strchr(".-+", *b) != NULL;
}

/* Backends beside libllama first; the library's own search only where it looks in a place baked in
 * by the distribution, i.e. when nothing was beside it. */
static void load_backends(void)
{
    Dl_info info;
    char dir[4096], *slash;

    if (dladdr((void *)(uintptr_t)llama_backend_init, &info) != 0 && info.dli_fname != NULL &&
        (size_t)snprintf(dir, sizeof(dir), "%s", info.dli_fname) < sizeof(dir) &&
        (slash = strrchr(dir, '/')) != NULL) {
        *slash = '\0';
        ggml_backend_load_all_from_path(dir);
    }
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL)
        ggml_backend_load_all();
}

/* The first half of a file's BLAKE2b-128. False: it cannot be read. */
static bool hash_file(const char *path, uint8_t sum[8])
{
    crypto_generichash_state state;
    unsigned char piece[16384];
    FILE *f = fopen(path, "re");
    size_t n;
    bool ok;

    if (f == NULL)
        return false;
    crypto_generichash_init(&state, NULL, 0, crypto_generichash_BYTES_MIN);
    while ((n = fread(piece, 1, sizeof(piece), f)) > 0)
        crypto_generichash_update(&state, piece, n);
    ok = ferror(f) == 0;
    fclose(f);
    crypto_generichash_final(&state, piece, crypto_generichash_BYTES_MIN);
    memcpy(sum, piece, 8);
    return ok;
}

void llama_env_build(char *text, size_t n)
{
    char content[17] = "unknown";
    uint8_t sum[8];
    Dl_info info;

    if (dladdr((void *)(uintptr_t)llama_backend_init, &info) != 0 && info.dli_fname != NULL &&
        hash_file(info.dli_fname, sum))
        sodium_bin2hex(content, sizeof(content), sum, sizeof(sum));
    snprintf(text, n, "%.40s %s", llama_version(), content);
}

static int init_once(char *why, size_t n_why)
{
    if (!llama_env_same_release(llama_version(), LLAMA_BUILT_VERSION)) {
        snprintf(why, n_why, "libllama is %s, but this program was built for %s", llama_version(),
                 LLAMA_BUILT_VERSION);
        return RM_ERR_ABI;
    }
    setenv("GGML_NO_BACKTRACE", "1", 1); /* else an abort starts a debugger */
    llama_log_set(on_log, NULL);
    load_backends();
    if (ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) == NULL) {
        snprintf(why, n_why, "no CPU backend (libggml-cpu-*.so) was found beside libllama");
        return RM_ERR_ENGINE;
    }
    llama_backend_init();
    rm_info("llama", "backends are loaded", RM_S("version", llama_version()),
            RM_S("system", llama_print_system_info()));
    return 0;
}

int llama_env_init(char *why, size_t n_why)
{
    static bool done;
    static int result;
    static char text[256];

    if (!done) {
        result = init_once(text, sizeof(text));
        done = true;
    }
    if (result != 0)
        snprintf(why, n_why, "%s", text);
    return result;
}

uint32_t llama_env_default_threads(void)
{
    cpu_set_t set;
    int n;

    CPU_ZERO(&set);
    n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;
    return n > 1 ? (uint32_t)n - 1 : 1;
}

/* ---- thread pools: the CPU backend is opened at run time, so its functions are fetched by name
 * ---- */

struct llama_env_pool {
    ggml_threadpool_t pool;
    void (*pool_free)(ggml_threadpool_t);
};

/* A function pointer out of a void pointer, as POSIX promises it works. */
static void fetch(ggml_backend_reg_t reg, const char *name, void *into)
{
    void *p = ggml_backend_reg_get_proc_address(reg, name);

    memcpy(into, &p, sizeof(p));
}

struct llama_env_pool *llama_env_pool_new(struct llama_context *ctx, uint32_t threads)
{
    ggml_backend_dev_t cpu = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
    struct ggml_threadpool_params params = ggml_threadpool_params_default((int)threads);
    ggml_threadpool_t (*pool_new)(struct ggml_threadpool_params *) = NULL;
    struct llama_env_pool *p = calloc(1, sizeof(*p));

    if (p == NULL)
        return NULL;
    fetch(ggml_backend_dev_backend_reg(cpu), "ggml_threadpool_new", &pool_new);
    fetch(ggml_backend_dev_backend_reg(cpu), "ggml_threadpool_free", &p->pool_free);
    if (pool_new == NULL || p->pool_free == NULL || (p->pool = pool_new(&params)) == NULL) {
        free(p);
        return NULL;
    }
    llama_attach_threadpool(ctx, p->pool, p->pool);
    return p;
}

void llama_env_pool_free(struct llama_env_pool *pool)
{
    if (pool == NULL)
        return;
    pool->pool_free(pool->pool);
    free(pool);
}
