/* SPDX-License-Identifier: MIT */
#include "gateway/ops/trust.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "proto/http/address.h"

/* ::ffff:127.0.0.1 is how a listener on [::] sees 127.0.0.1. */
static bool is_mapped_loopback(const char *host)
{
    struct in6_addr a;

    return inet_pton(AF_INET6, host, &a) == 1 && IN6_IS_ADDR_V4MAPPED(&a) && a.s6_addr[12] == 127;
}

static bool peer_is_near(const char *peer)
{
    struct http_address a;

    if (strcmp(peer, "unix") == 0)
        return true;
    return http_address_parse(peer, &a) == 0 && !a.is_unix &&
           (http_address_is_loopback(&a) || is_mapped_loopback(a.host));
}

/* "localhost:80", "127.0.0.1:8080", "[::1]"; with a port or without. */
static bool host_read(struct rm_slice host, struct http_address *a)
{
    char text[300];
    bool bracketed = host.n > 0 && host.p[0] == '[';
    bool with_port = bracketed ? host.n > 1 && host.p[host.n - 1] != ']'
                               : memchr(host.p != NULL ? host.p : "", ':', host.n) != NULL;

    if (host.n == 0 || host.n > sizeof text - 8 || memchr(host.p, '\0', host.n) != NULL)
        return false;
    snprintf(text, sizeof text, "%.*s%s", (int)host.n, host.p, with_port ? "" : ":80");
    return http_address_parse(text, a) == 0 && !a->is_unix;
}

static bool host_is_near(struct rm_slice host)
{
    struct http_address a;

    return host_read(host, &a) && http_address_is_loopback(&a);
}

/* Could the peer be a browser of this machine that was made to believe a foreign page's name stands
 * for us (DNS rebinding)? Then Host is that name; an address cannot be rebound. */
static bool is_rebound(const char *peer, const struct http_head *head)
{
    unsigned char ip[16];
    struct http_address a;

    if (!peer_is_near(peer) || host_is_near(head->host) || head->host.n == 0)
        return false;
    return !host_read(head->host, &a) ||
           (inet_pton(AF_INET, a.host, ip) != 1 && inet_pton(AF_INET6, a.host, ip) != 1);
}

const char *ops_trust_fault(const char *peer, const struct http_head *head)
{
    static const char *const browsers[] = {"Origin", "Sec-Fetch-Site", "Sec-Fetch-Mode"};
    static const char *const proxies[] = {"Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"};

    if (!peer_is_near(peer))
        return "actions are taken from this machine only (127.0.0.0/8, ::1 or a Unix socket), "
               "since "
               "there are no keys";
    for (size_t i = 0; i < RM_COUNT(browsers); i++)
        if (http_head_find(head, browsers[i]) != NULL)
            return "actions are not taken from web pages: the request has a header that browsers "
                   "send (Origin, Sec-Fetch-*)";
    for (size_t i = 0; i < RM_COUNT(proxies); i++)
        if (http_head_find(head, proxies[i]) != NULL)
            return "actions are not taken through a proxy: the request has a header that proxies "
                   "send (Forwarded, X-Forwarded-For, X-Real-IP, Via)";
    if (!host_is_near(head->host))
        return "actions are taken under a loopback name only: Host must be localhost, 127.0.0.0/8 "
               "or [::1]";
    return NULL;
}

/* Origin is SCHEME://HOST[:PORT], as RFC 6454 section 7 writes it; "null" is nobody's. */
static bool origin_is_host(struct rm_slice origin, struct rm_slice host)
{
    static const char *const schemes[] = {"http://", "https://"};

    for (size_t i = 0; i < RM_COUNT(schemes); i++) {
        size_t n = strlen(schemes[i]);

        if (origin.n == n + host.n && host.n > 0 &&
            rm_slice_ieq((struct rm_slice){origin.p, n}, schemes[i]) &&
            strncasecmp(origin.p + n, host.p, host.n) == 0)
            return true;
    }
    return false;
}

const char *ops_origin_fault(const struct http_head *head)
{
    const struct http_field *site = http_head_find(head, "Sec-Fetch-Site");

    for (uint32_t i = 0; i < head->n_fields; i++)
        if (rm_slice_ieq(head->fields[i].name, "origin") &&
            !origin_is_host(head->fields[i].value, head->host))
            return "the request comes from a page of another origin: Origin is not Host";
    if (site != NULL && !rm_slice_eq(site->value, "same-origin") &&
        !rm_slice_eq(site->value, "none"))
        return "the request comes from a page of another origin: see Sec-Fetch-Site";
    return NULL;
}

const char *ops_cookie_fault(const struct http_head *head)
{
    if (!rm_slice_eq(http_head_value(head, "X-Rolemesh-Action"), "1"))
        return "an action by a session's cookie needs the header field X-Rolemesh-Action: 1";
    return ops_origin_fault(head);
}

static int acts_by_cookie(const struct http_head *head, const struct ops_who *who, const char **why)
{
    if (!who->by_cookie || head->method == HTTP_GET || head->method == HTTP_HEAD)
        return 0;
    *why = ops_cookie_fault(head);
    return *why == NULL ? 0 : RM_ERR_FORBIDDEN;
}

int ops_allowed(enum ops_policy policy, const char *peer, const struct http_head *head,
                const struct ops_who *who, const char **why)
{
    *why = NULL;
    if (policy == OPS_OPEN)
        return acts_by_cookie(head, who, why);
    if (policy == OPS_SCRAPE && ops_trust_fault(peer, head) == NULL)
        return 0;
    if (policy == OPS_ADMIN && !who->keys_exist) {
        *why = ops_trust_fault(peer, head);
        return *why == NULL ? 0 : RM_ERR_FORBIDDEN;
    }
    if (!who->keys_exist && is_rebound(peer, head)) {
        *why = "without keys this gateway answers on its own machine under an address or localhost "
               "only, so that no web page can read it under a name of its own; use one, or create "
               "a key";
        return RM_ERR_MISDIRECTED;
    }
    if (who->err < 0) {
        *why = who->why;
        return who->err;
    }
    if (policy == OPS_ADMIN && !who->key->admin) {
        *why = "this API key is not an admin's: see 'rolemesh keys create --admin'";
        return RM_ERR_FORBIDDEN;
    }
    return acts_by_cookie(head, who, why);
}

bool ops_has_type(const struct http_head *head, const char *type)
{
    struct rm_slice value = http_head_value(head, "Content-Type");
    size_t n = 0;

    while (n < value.n && value.p[n] != ';' && value.p[n] != ' ' && value.p[n] != '\t')
        n++;
    return rm_slice_ieq((struct rm_slice){value.p, n}, type);
}
