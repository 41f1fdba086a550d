/* SPDX-License-Identifier: MIT */
/* worker/core/ready.h - what rolemesh-core and the worker that starts it agree on: arguments, the
 * lines on the ready pipe, exit codes and the body of GET /core/state. Plain declarations, no
 * libllama: the worker's engine kind "core" includes this file, ready.c is the core's side.
 *
 * Start. The worker makes a pipe, hands its write end down and runs, in a new process group:
 *   rolemesh-core --model FILE.gguf --socket PATH --ready-fd N --parent-pid WORKER
 *                 [--context TOKENS] [--slots N] [--kv f16|q8_0] [--batch N] [--threads N]
 *                 [--gpu-layers N] [--queue-max N] [--alias NAME]
 * The core makes itself leader of its process group if it is not yet, asks for SIGKILL when its
 * parent dies, and leaves at once when its parent is not --parent-pid any more.
 *
 * The pipe. One JSON object per line, each written at once (at most PIPE_BUF bytes), until ready:
 *   {"progress":0.43}        weights read so far, 0..1, rising; at most one per 50 ms and percent
 *   {"ready":true,"context":4096,"slots":4,"pid":71,"version":"0.1.0","llama":"0.5.0",
 *    "load_ms":812,"restored_tokens":0,"not_restored":""}   the socket listens, the model has
 * decoded a first token; the last line
 *   {"error":"TEXT","cause":"load"|"abi"|"memory"|"usage"|"socket"|"internal"}   before a bad exit
 * Unknown members and lines are to be skipped. The write end stays open until the process is gone,
 * so that end of file means: the engine has ended, whatever came before.
 *
 * SIGTERM, SIGINT: stops after the current decode call and exits with CORE_EXIT_OK within a second
 * (running requests are cut: the worker drains before).
 *
 * KV state on the disk (kvfile.h), with --kv-file PATH --model-hash HEX [--kv-file-max BYTES]: what
 * lies at PATH is restored before ready if it belongs to this model, build and flags, and is
 * removed in any case. POST /core/save?budget_ms=N, asked before SIGTERM, writes it anew when that
 * is cheaper than to read the prompts again (kvplan.h) and takes at most N ms; the answer comes
 * when the file has its name, or not:
 *   {"saved":true,"why":"","sequences":2,"of":3,"tokens":4096,"bytes":123456,"ms":40,
 *    "write_bps":1.0e9,"read_bps":2.0e9,"prefill_tps":800.0}
 * 501 without --kv-file, 503 while another save is under way. No request should run meanwhile.
 * PATH.tmp may be left by a core that was killed.
 *
 * GET /core/state, answered by the loop in under 5 ms whatever the decode thread does:
 *   {"model":{"name","arch","desc","params","bytes","context_train","vocab","template","fim"},
 *    "version","llama","pid","uptime_ms","context","slots","slots_busy","slots_prefill",
 *    "slot_states","queue","prefill_tps","decode_tps","kv_used","kv_total","kv_deepest","prompt_tokens","cached_tokens",
 *    "generated_tokens","read_tokens","jobs_done","jobs_failed","decode_calls","batch","batch_most","depth","ticks",
 *    "requests"}
 * in this order; all but model, version, llama, slot_states and depth are numbers; slot_states is
 * an array with "idle", "prefill" or "decode" for each slot; depth is an array of
 *   {"from","prefill_tokens","prefill_us","decode_tokens","decode_us"}, see depth.h.
 * `context` is tokens per slot, `kv_deepest` the tokens of the longest sequence, the token counters
 * are since the start (read_tokens: of prompts, decoded call by call, none from a cache), `batch`
 * is how many tokens a decode call takes at most and `batch_most` how many one took, tps are moving
 * averages (0: not measured yet), `ticks` rises while the decode thread lives, `requests` are those
 * in the process now. template: "jinja", "builtin" or "none"; fim: true when the model has
 * fill-in-the-middle tokens. */
#ifndef RM_CORE_READY_H
#define RM_CORE_READY_H

#include <stddef.h>
#include <stdint.h>

/* Exit codes of rolemesh-core. CORE_EXIT_MODEL and CORE_EXIT_ABI: starting again will not help. */
enum core_exit {
    CORE_EXIT_OK = 0,
    CORE_EXIT_OTHER = 1,  /* socket in use, internal error */
    CORE_EXIT_USAGE = 2,  /* arguments */
    CORE_EXIT_MODEL = 3,  /* the model file cannot be used */
    CORE_EXIT_ABI = 4,    /* libllama of another version than built for */
    CORE_EXIT_MEMORY = 5, /* weights, KV or buffers could not be allocated */
};

/* The core's side of the pipe. Writes never block: a progress line that does not fit is dropped. */
struct ready_pipe {
    int fd; /* -1: nobody listens */
    uint64_t last_ms;
    int last_percent;
};

/* fd as given by --ready-fd, or -1. Makes it non-blocking and close-on-exec. Returns 0 or a libuv
 * code when it is not an open descriptor. */
int ready_open(struct ready_pipe *p, int fd);

/* part: 0..1; now_ms: rm_now_ms(). Says it when it is 50 ms and one percent after the last one. */
void ready_progress(struct ready_pipe *p, float part, uint64_t now_ms);

struct ready_facts {
    uint32_t context, slots;
    const char *version, *llama; /* NUL-terminated */
    uint64_t load_ms;
    uint64_t restored_tokens; /* of KV state from the disk */
    const char *not_restored; /* why a file that was there is not used; "": there was none */
};
void ready_say(struct ready_pipe *p, const struct ready_facts *f);

/* text: one line for people; cause: one of the words above. */
void ready_fail(struct ready_pipe *p, const char *cause, const char *text);

#endif
