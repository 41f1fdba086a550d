/* SPDX-License-Identifier: MIT */
/* proto/http/address.c - "HOST:PORT", "[v6]:PORT" and "unix:PATH" as data. Pure; any thread. */
#include "proto/http/address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>
#include <uv.h>

/* Digits to a port; -1 when it is none. */
static int port_of(const char *text)
{
    int port = 0;
    size_t n = 0;

    for (; text[n] >= '0' && text[n] <= '9' && n < 5; n++)
        port = port * 10 + (text[n] - '0');
    return n == 0 || text[n] != '\0' || port > 65535 ? -1 : port;
}

static bool host_name_ok(const char *host, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char c = host[i];

        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
              c == '-' || c == '.' || c == '_'))
            return false;
    }
    return n > 0 && n <= 253;
}

static int parse_unix(const char *path, struct http_address *out)
{
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof(((struct sockaddr_un *)0)->sun_path))
        return UV_EINVAL;
    out->is_unix = true;
    memcpy(out->host, path, n + 1);
    return 0;
}

/* text begins with '['. A zone ("%eth0") stays in the host. */
static int parse_v6(const char *text, struct http_address *out)
{
    const char *end = strchr(text, ']');
    struct in6_addr a;
    char plain[INET6_ADDRSTRLEN + 1];
    size_t n, zone;
    int port;

    if (end == NULL || end[1] != ':' || (port = port_of(end + 2)) < 0)
        return UV_EINVAL;
    n = (size_t)(end - text) - 1;
    if (n == 0 || n >= sizeof(out->host))
        return UV_EINVAL;
    memcpy(out->host, text + 1, n);
    out->host[n] = '\0';
    zone = strcspn(out->host, "%");
    if (zone >= sizeof(plain) || (zone < n && !host_name_ok(out->host + zone + 1, n - zone - 1)))
        return UV_EINVAL;
    memcpy(plain, out->host, zone);
    plain[zone] = '\0';
    if (inet_pton(AF_INET6, plain, &a) != 1)
        return UV_EINVAL;
    out->port = (uint16_t)port;
    return 0;
}

int http_address_parse(const char *text, struct http_address *out)
{
    const char *colon;
    size_t n;
    int port;

    memset(out, 0, sizeof(*out));
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, out);
    if (text[0] == '[')
        return parse_v6(text, out);
    colon = strchr(text, ':');
    if (colon == NULL || (port = port_of(colon + 1)) < 0)
        return UV_EINVAL;
    n = (size_t)(colon - text);
    if (!host_name_ok(text, n))
        return UV_EINVAL;
    memcpy(out->host, text, n);
    out->host[n] = '\0';
    out->port = (uint16_t)port;
    return 0;
}

void http_address_text(const struct http_address *a, char *out)
{
    if (a->is_unix)
        snprintf(out, HTTP_ADDRESS_TEXT, "unix:%s", a->host);
    else if (strchr(a->host, ':') != NULL)
        snprintf(out, HTTP_ADDRESS_TEXT, "[%s]:%u", a->host, a->port);
    else
        snprintf(out, HTTP_ADDRESS_TEXT, "%s:%u", a->host, a->port);
}

bool http_address_is_loopback(const struct http_address *a)
{
    struct in6_addr six;
    struct in_addr four;

    if (a->is_unix || strcasecmp(a->host, "localhost") == 0)
        return true;
    if (inet_pton(AF_INET, a->host, &four) == 1)
        return (ntohl(four.s_addr) >> 24) == 127;
    return inet_pton(AF_INET6, a->host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six);
}
