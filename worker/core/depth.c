/* SPDX-License-Identifier: MIT */
#include "worker/core/depth.h"

const uint32_t depth_from[DEPTH_BUCKETS] = {0, 1024, 4096, 16384, 65536, 262144};

static struct depth_sums *bucket_of(struct depth_sums *sums, uint64_t held)
{
    int i = DEPTH_BUCKETS - 1;

    while (i > 0 && held < depth_from[i])
        i--;
    return &sums[i];
}

void depth_note(struct depth_sums sums[DEPTH_BUCKETS], const struct depth_call *call, uint64_t us)
{
    struct depth_sums *s;

    if (call->streams == 0 && call->prompts == 1 && call->prompt_tokens >= DEPTH_PROMPT_MIN) {
        s = bucket_of(sums, call->prompt_at);
        s->prefill_tokens += call->prompt_tokens;
        s->prefill_us += us;
    } else if (call->streams > 0 && call->prompts == 0) {
        s = bucket_of(sums, call->streams_at / call->streams);
        s->decode_tokens++;
        s->decode_us += us;
    }
}
