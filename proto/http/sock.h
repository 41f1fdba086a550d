/* SPDX-License-Identifier: MIT */
/* proto/http/sock.h - what both sides of proto/http know of a socket: the libuv handle of a TCP or
 * Unix one, and how soon a TCP peer whose machine is gone is noticed while nothing is being sent.
 * Nobody outside the folder includes it. */
#ifndef RM_HTTP_SOCK_H
#define RM_HTTP_SOCK_H

#include <uv.h>

/* One handle; which one is known from the address that it was made for. */
union http_sock {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

enum { HTTP_KEEPALIVE_IDLE_S = 10, HTTP_KEEPALIVE_EVERY_S = 5, HTTP_KEEPALIVE_PROBES = 3 };

#endif
