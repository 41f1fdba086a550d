/* SPDX-License-Identifier: MIT */
/* proto/base/err.h - every error this project can return, once.
 * Functions return 0 or a negative code. libuv's codes (UV_E...) pass through unchanged; ours start
 * at -10000. The row gives the text for people, the HTTP status that a client gets, and the `code`
 * of an OpenAI-shaped error body, so that no second table is needed. Any thread. */
#ifndef RM_BASE_ERR_H
#define RM_BASE_ERR_H

#define RM_MUST_USE          __attribute__((warn_unused_result))
#define RM_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#define RM_COUNT(array)      (sizeof(array) / sizeof((array)[0]))

/* Not errors: what a step or a write says besides "done". */
enum { RM_OK = 0, RM_AGAIN = 1, RM_WAIT = 2 };

/*  name, number, HTTP status, OpenAI code, text */
#define RM_ERRORS(X)                                                                               \
    X(RM_ERR_HTTP_SYNTAX, -10000, 400, "bad_request", "malformed HTTP message")                    \
    X(RM_ERR_HTTP_VERSION, -10001, 505, "bad_request", "HTTP version not supported")               \
    X(RM_ERR_HTTP_CODING, -10002, 501, "not_supported", "transfer coding not supported")           \
    X(RM_ERR_HTTP_FIELDS, -10003, 431, "bad_request", "header fields too many or too large")       \
    X(RM_ERR_HTTP_LENGTH, -10004, 411, "bad_request", "a POST needs Content-Length or chunked")    \
    X(RM_ERR_HTTP_TARGET, -10005, 414, "bad_request", "the request target is over its limit")      \
    X(RM_ERR_HTTP_TIMEOUT, -10006, 408, "timeout", "the request did not arrive in time")           \
    X(RM_ERR_MISDIRECTED, -10007, 421, "bad_request", "this server is not the one named")          \
    X(RM_ERR_EXPECT, -10008, 417, "bad_request", "expectation not supported")                      \
    X(RM_ERR_BODY_TOO_LARGE, -10009, 413, "request_too_large", "request body too large")           \
    X(RM_ERR_MEDIA_TYPE, -10010, 415, "unsupported_media_type", "content type or coding refused")  \
    X(RM_ERR_METHOD, -10011, 405, "method_not_allowed", "method not allowed here")                 \
    X(RM_ERR_NOT_FOUND, -10012, 404, "not_found", "no such path")                                  \
    X(RM_ERR_JSON, -10013, 400, "invalid_json", "malformed JSON")                                  \
    X(RM_ERR_FIELD, -10014, 400, "invalid_value", "a field has a wrong type or value")             \
    X(RM_ERR_MODEL, -10015, 404, "model_not_found", "no such mode, role or model")                 \
    X(RM_ERR_CONTEXT, -10016, 400, "context_length_exceeded", "the prompt is over the context")    \
    X(RM_ERR_AUTH, -10017, 401, "invalid_api_key", "API key missing or wrong")                     \
    X(RM_ERR_FORBIDDEN, -10018, 403, "permission_denied", "not allowed")                           \
    X(RM_ERR_QUEUE_FULL, -10019, 429, "queue_full", "the queue of this role is full")              \
    X(RM_ERR_NO_HOST, -10020, 503, "no_host", "no host of this role is ready")                     \
    X(RM_ERR_DEADLINE, -10021, 504, "timeout", "no host became free in time")                      \
    X(RM_ERR_UPSTREAM, -10022, 502, "upstream_error", "the worker failed")                         \
    X(RM_ERR_UPSTREAM_INVALID, -10023, 502, "upstream_invalid", "the worker's answer is damaged")  \
    X(RM_ERR_UPSTREAM_LOST, -10024, 502, "upstream_lost", "the worker was lost")                   \
    X(RM_ERR_UPSTREAM_TIMEOUT, -10025, 504, "timeout", "the worker did not answer in time")        \
    X(RM_ERR_NOT_SUPPORTED, -10026, 501, "not_supported", "not supported")                         \
    X(RM_ERR_DRAINING, -10027, 503, "shutting_down", "shutting down")                              \
    X(RM_ERR_OVERLOAD, -10028, 503, "overloaded", "too many connections or too much memory held")  \
    X(RM_ERR_GONE, -10029, 499, "client_gone", "the client went away")                             \
    X(RM_ERR_TOO_BIG, -10030, 500, "internal_error", "a bounded buffer is full")                   \
    X(RM_ERR_INTERNAL, -10031, 500, "internal_error", "internal error")                            \
    X(RM_ERR_CONF, -10032, 500, "internal_error", "configuration refused")                         \
    X(RM_ERR_MODEL_FILE, -10033, 503, "no_host", "the model file cannot be used")                  \
    X(RM_ERR_ENGINE, -10034, 502, "upstream_error", "the engine failed")                           \
    X(RM_ERR_ABI, -10035, 503, "no_host", "the libllama found is not the one built for")           \
    X(RM_ERR_STALE, -10036, 409, "stale_epoch", "a newer gateway is in charge")                    \
    X(RM_ERR_CANCELLED, -10037, 499, "client_gone", "cancelled")                                   \
    X(RM_ERR_RATE, -10038, 429, "rate_limit_exceeded", "over a limit of the API key")              \
    X(RM_ERR_MAP, -10039, 422, "invalid_map", "the role map has mistakes")                         \
    X(RM_ERR_REVISION, -10040, 412, "revision_changed", "changed meanwhile by somebody else")      \
    X(RM_ERR_NO_MATCH, -10041, 428, "if_match_missing", "name the revision to replace: If-Match")  \
    X(RM_ERR_STATE, -10042, 409, "wrong_state", "not possible in this state")

enum rm_err {
#define RM_ERR_ENUM(name, number, status, code, text) name = (number),
    RM_ERRORS(RM_ERR_ENUM)
#undef RM_ERR_ENUM
};

/* Text for people; libuv's codes by uv_strerror, 0 is "ok". Static storage. Never NULL. */
const char *rm_strerror(int err);

/* The symbol, e.g. "RM_ERR_JSON" or "ECONNREFUSED"; for logs and JSON. Static storage. Never NULL.
 */
const char *rm_err_name(int err);

/* HTTP status of an error body; 500 for what is not in the table. */
int rm_err_status(int err);

/* The `code` of an OpenAI error body; "internal_error" for what is not in the table. */
const char *rm_err_code(int err);

#endif
