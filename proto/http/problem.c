/* SPDX-License-Identifier: MIT */
#include "proto/http/problem.h"

#include "proto/http/message.h"

void http_problem_members(struct rm_jw *w, int err, const char *detail)
{
    const char *title = http_reason(rm_err_status(err));

    rm_jw_str(w, "type", "about:blank");
    rm_jw_str(w, "title", title[0] != '\0' ? title : rm_strerror(err));
    rm_jw_u64(w, "status", (uint64_t)rm_err_status(err));
    rm_jw_str(w, "detail", detail != NULL ? detail : rm_strerror(err));
    rm_jw_str(w, "code", rm_err_code(err));
}
