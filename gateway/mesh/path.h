/* SPDX-License-Identifier: MIT */
/* gateway/mesh/path.h - what kind of way an address is reached by, told by the address alone. Pure.
 */
#ifndef RM_MESH_PATH_H
#define RM_MESH_PATH_H

#include <sys/socket.h>

#define MESH_PATHS(X)                                                                              \
    X(PATH_UNKNOWN, NULL)                                                                          \
    X(PATH_UNIX, "unix")                                                                           \
    X(PATH_LOOPBACK, "loopback") /* 127/8, ::1 */                                                  \
    X(PATH_LAN, "lan")           /* RFC 1918, RFC 4193, link-local (RFC 3927, RFC 4291) */         \
    X(PATH_TAILNET,                                                                                \
      "tailnet")             /* 100.64/10 (RFC 6598), fd7a:115c:a1e0::/48: Tailscale, Headscale */ \
    X(PATH_PUBLIC, "public") /* all else */

enum mesh_path {
#define MESH_PATH_ENUM(name, text) name,
    MESH_PATHS(MESH_PATH_ENUM)
#undef MESH_PATH_ENUM
};
const char *mesh_path_name(enum mesh_path p); /* NULL: unknown */

/* An IPv4 address inside an IPv6 one counts as itself. Other families: PATH_UNKNOWN. */
enum mesh_path mesh_path_of(const struct sockaddr *a);

#endif
