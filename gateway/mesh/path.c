/* SPDX-License-Identifier: MIT */
#include "gateway/mesh/path.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "proto/base/buf.h"

const char *mesh_path_name(enum mesh_path p)
{
    static const char *const names[] = {
#define MESH_PATH_NAME(name, text) text,
        MESH_PATHS(MESH_PATH_NAME)
#undef MESH_PATH_NAME
    };
    return (unsigned)p < RM_COUNT(names) ? names[p] : NULL;
}

static enum mesh_path path_v4(uint32_t a)
{
    static const struct {
        uint32_t net, bits;
        enum mesh_path path;
    } nets[] = {
        {0x7f000000, 8, PATH_LOOPBACK}, {0x0a000000, 8, PATH_LAN},  {0xac100000, 12, PATH_LAN},
        {0xc0a80000, 16, PATH_LAN},     {0xa9fe0000, 16, PATH_LAN}, {0x64400000, 10, PATH_TAILNET},
    };

    for (size_t i = 0; i < RM_COUNT(nets); i++)
        if ((a ^ nets[i].net) >> (32 - nets[i].bits) == 0)
            return nets[i].path;
    return PATH_PUBLIC;
}

static enum mesh_path path_v6(const struct in6_addr *a)
{
    static const unsigned char tailnet[] = {0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0};
    uint32_t four;

    if (IN6_IS_ADDR_V4MAPPED(a)) {
        memcpy(&four, &a->s6_addr[12], sizeof four);
        return path_v4(ntohl(four));
    }
    if (IN6_IS_ADDR_LOOPBACK(a))
        return PATH_LOOPBACK;
    if (memcmp(a->s6_addr, tailnet, sizeof tailnet) == 0)
        return PATH_TAILNET;
    if ((a->s6_addr[0] & 0xfe) == 0xfc || IN6_IS_ADDR_LINKLOCAL(a))
        return PATH_LAN;
    return PATH_PUBLIC;
}

enum mesh_path mesh_path_of(const struct sockaddr *a)
{
    switch (a->sa_family) {
    case AF_UNIX:
        return PATH_UNIX;
    case AF_INET:
        return path_v4(ntohl(((const struct sockaddr_in *)(const void *)a)->sin_addr.s_addr));
    case AF_INET6:
        return path_v6(&((const struct sockaddr_in6 *)(const void *)a)->sin6_addr);
    default:
        return PATH_UNKNOWN;
    }
}
