/* SPDX-License-Identifier: MIT */
#include "worker/core/options.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: rolemesh-core --model FILE.gguf --socket PATH [OPTION ...]\n"
    "       rolemesh-core --model FILE.gguf --forecast [--json] [OPTION ...]\n"
    "       rolemesh-core --devices [--json]\n"
    "Hosts one model for OpenAI chat and completions on a Unix socket. Started by\n"
    "rolemesh-worker; nothing but the worker should talk to it.\n"
    "\n"
    "  --model FILE       GGUF file, the first one of a split model\n"
    "  --socket PATH      where to listen (mode 0600)\n"
    "  --alias NAME       the model's name in answers (default: the file's general.name)\n"
    "  --context TOKENS   per slot (default: the model's own maximum)\n"
    "  --slots N          sequences decoded together, 1 to 64 (1)\n"
    "  --kv f16|q8_0      type of the KV memory (f16)\n"
    "  --batch TOKENS     decoded at once at most (512)\n"
    "  --threads N        default: cores - 1\n"
    "  --gpu-layers N     -1: all that a device takes (-1)\n"
    "  --queue-max N      requests waiting for a slot at most (64)\n"
    "  --kv-file FILE     KV state is restored from here at the start and saved here when the\n"
    "                     worker asks; wants --model-hash\n"
    "  --kv-file-max BYTES   of that file at most (17179869184)\n"
    "  --model-hash HEX   64 hex digits: what the model's files hold, as the worker knows it\n"
    "  --ready-fd N       where progress and readiness are told, one JSON object a line\n"
    "  --parent-pid N     end when this process is not the parent any more\n"
    "  --forecast         print the bytes this model needs with these flags; nothing is loaded\n"
    "  --memory-max BYTES the forecast itself uses at most (a quarter of what is available)\n"
    "  --devices          print what this machine can compute on, and its memory\n"
    "  --json             the forecast, the devices as JSON\n"
    "  --version, --help\n"
    "\n"
    "Exit codes: 0 ended as told, 1 other (socket in use), 2 arguments, 3 the model file\n"
    "cannot be used, 4 libllama of another version than built for, 5 out of memory.\n"
    "After 3 and 4 another start will not help.\n";

const char *core_options_help(void)
{
    return help;
}

/* ---- readers ---- */

static bool read_number(const char *text, long long low, long long high, long long *out)
{
    char *end;

    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno == 0 && end != text && *end == '\0' && *out >= low && *out <= high;
}

static bool read_u32(const char *text, long long low, long long high, uint32_t *out)
{
    long long v;

    if (!read_number(text, low, high, &v))
        return false;
    *out = (uint32_t)v;
    return true;
}

static bool set_model(struct core_options *o, const char *v)
{
    o->model = v;
    return v[0] != '\0';
}

static bool set_socket(struct core_options *o, const char *v)
{
    o->socket = v;
    return v[0] != '\0' && strlen(v) <= 107;
}

static bool set_alias(struct core_options *o, const char *v)
{
    o->alias = v;
    return v[0] != '\0' && strlen(v) < 256;
}

static bool set_context(struct core_options *o, const char *v)
{
    return read_u32(v, 0, 1 << 24, &o->context);
}

static bool set_slots(struct core_options *o, const char *v)
{
    return read_u32(v, 1, 64, &o->slots);
}

static bool set_batch(struct core_options *o, const char *v)
{
    return read_u32(v, 0, 8192, &o->batch);
}

static bool set_threads(struct core_options *o, const char *v)
{
    return read_u32(v, 0, 512, &o->threads);
}

static bool set_queue_max(struct core_options *o, const char *v)
{
    return read_u32(v, 1, 1024, &o->queue_max);
}

static bool set_gpu_layers(struct core_options *o, const char *v)
{
    long long n;

    if (!read_number(v, -1, 10000, &n))
        return false;
    o->gpu_layers = (int32_t)n;
    return true;
}

static bool set_kv(struct core_options *o, const char *v)
{
    o->kv = strcmp(v, "q8_0") == 0 ? DECODER_KV_Q8_0 : DECODER_KV_F16;
    return strcmp(v, "q8_0") == 0 || strcmp(v, "f16") == 0;
}

static bool set_kv_file(struct core_options *o, const char *v)
{
    o->kv_file = v;
    return v[0] == '/' && strlen(v) <= 1023;
}

static bool set_kv_file_max(struct core_options *o, const char *v)
{
    long long n;

    if (!read_number(v, 1, LLONG_MAX, &n))
        return false;
    o->kv_file_max = (uint64_t)n;
    return true;
}

static bool set_memory_max(struct core_options *o, const char *v)
{
    long long n;

    if (!read_number(v, 1, LLONG_MAX, &n))
        return false;
    o->memory_max = (uint64_t)n;
    return true;
}

static bool set_model_hash(struct core_options *o, const char *v)
{
    o->model_hash = v;
    return strlen(v) == 64 && strspn(v, "0123456789abcdef") == 64;
}

static bool set_ready_fd(struct core_options *o, const char *v)
{
    long long n;

    if (!read_number(v, 0, 1 << 20, &n))
        return false;
    o->ready_fd = (int)n;
    return true;
}

static bool set_parent_pid(struct core_options *o, const char *v)
{
    long long n;

    if (!read_number(v, 1, 1 << 30, &n))
        return false;
    o->parent_pid = (long)n;
    return true;
}

static bool set_forecast(struct core_options *o, const char *v)
{
    (void)v;
    o->mode = CORE_FORECAST;
    return true;
}

static bool set_devices(struct core_options *o, const char *v)
{
    (void)v;
    o->mode = CORE_DEVICES;
    return true;
}

static bool set_json(struct core_options *o, const char *v)
{
    (void)v;
    return o->json = true;
}

static bool set_version(struct core_options *o, const char *v)
{
    (void)v;
    o->mode = CORE_VERSION;
    return true;
}

static bool set_help(struct core_options *o, const char *v)
{
    (void)v;
    o->mode = CORE_HELP;
    return true;
}

/* want: what is expected after the name; NULL: nothing. */
static const struct flag {
    const char *name, *want;
    bool (*set)(struct core_options *o, const char *v);
} flags[] = {
    {"--alias", "1 to 255 bytes", set_alias},
    {"--batch", "tokens, 0 to 8192", set_batch},
    {"--context", "tokens, 0 to 16777216", set_context},
    {"--devices", NULL, set_devices},
    {"--forecast", NULL, set_forecast},
    {"--gpu-layers", "a number from -1 up", set_gpu_layers},
    {"--help", NULL, set_help},
    {"--json", NULL, set_json},
    {"--kv", "f16 or q8_0", set_kv},
    {"--kv-file", "an absolute path of at most 1023 bytes", set_kv_file},
    {"--kv-file-max", "bytes, 1 or more", set_kv_file_max},
    {"--memory-max", "bytes, 1 or more", set_memory_max},
    {"--model", "a file", set_model},
    {"--model-hash", "64 hex digits", set_model_hash},
    {"--parent-pid", "a process id", set_parent_pid},
    {"--queue-max", "1 to 1024", set_queue_max},
    {"--ready-fd", "a descriptor", set_ready_fd},
    {"--slots", "1 to 64", set_slots},
    {"--socket", "a path of at most 107 bytes", set_socket},
    {"--threads", "0 to 512", set_threads},
    {"--version", NULL, set_version},
};

static const struct flag *flag_find(const char *arg, size_t n)
{
    for (size_t i = 0; i < RM_COUNT(flags); i++)
        if (strlen(flags[i].name) == n && strncmp(flags[i].name, arg, n) == 0)
            return &flags[i];
    return NULL;
}

/* One argument, "--name value" or "--name=value". Returns how many of argv it took, 0 on a mistake.
 */
static int take_flag(char **argv, struct core_options *o, char *why, size_t n_why)
{
    const char *equals = strchr(argv[0], '=');
    size_t n = equals != NULL ? (size_t)(equals - argv[0]) : strlen(argv[0]);
    const struct flag *f = flag_find(argv[0], n);
    const char *value = equals != NULL ? equals + 1 : argv[1];

    if (f == NULL) {
        snprintf(why, n_why, "unknown argument %.64s; --help lists them", argv[0]);
        return 0;
    }
    if (f->want == NULL && equals == NULL)
        return f->set(o, NULL) ? 1 : 0;
    if (f->want == NULL || value == NULL || !f->set(o, value)) {
        snprintf(why, n_why, "%s: expected %s", f->name, f->want != NULL ? f->want : "no value");
        return 0;
    }
    return equals != NULL ? 1 : 2;
}

int core_options_parse(int argc, char **argv, struct core_options *o, char *why, size_t n_why)
{
    bool wrong = false;

    *o = (struct core_options){
        .ready_fd = -1, .slots = 1, .gpu_layers = -1, .kv_file_max = (uint64_t)16 << 30};
    for (int i = 1; i < argc;) {
        char rest[160];
        int n = take_flag(argv + i, o, wrong ? rest : why, wrong ? sizeof(rest) : n_why);

        wrong = wrong || n == 0; /* go on: --ready-fd may still come */
        i += n > 0 ? n : 1;
    }
    if (wrong)
        return RM_ERR_FIELD;
    if (o->mode == CORE_HELP || o->mode == CORE_VERSION || o->mode == CORE_DEVICES)
        return 0;
    if (o->model == NULL || (o->mode == CORE_SERVE && o->socket == NULL)) {
        snprintf(why, n_why, "%s is missing; --help lists the arguments",
                 o->model == NULL ? "--model" : "--socket");
        return RM_ERR_FIELD;
    }
    if (o->kv_file != NULL && o->model_hash == NULL) {
        snprintf(why, n_why, "--kv-file wants --model-hash");
        return RM_ERR_FIELD;
    }
    return 0;
}

struct decoder_conf core_options_decoder(const struct core_options *o)
{
    return (struct decoder_conf){
        .model_path = o->model,
        .context = o->context,
        .slots = o->slots,
        .kv = o->kv,
        .batch = o->batch,
        .threads = o->threads,
        .gpu_layers = o->gpu_layers,
        .queue_max = o->queue_max,
    };
}
