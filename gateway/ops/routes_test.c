/* SPDX-License-Identifier: MIT */
/* gateway/ops/routes_test.c - the table of routes against proto/openapi.yaml, in both directions:
 * every path, method, policy (x-policy) and query parameter of one stands in the other. And how
 * paths find their rows. */
#include "gateway/ops/ops_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include <yaml.h>

static yaml_document_t doc;

static yaml_node_t *get(yaml_node_t *map, const char *name)
{
    if (map == NULL || map->type != YAML_MAPPING_NODE)
        return NULL;
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++)
        if (strcmp((char *)yaml_document_get_node(&doc, p->key)->data.scalar.value, name) == 0)
            return yaml_document_get_node(&doc, p->value);
    return NULL;
}

static const char *text(yaml_node_t *n)
{
    return n != NULL && n->type == YAML_SCALAR_NODE ? (char *)n->data.scalar.value : "";
}

static int load(void **state)
{
    yaml_parser_t parser;
    FILE *f = fopen("proto/openapi.yaml", "rb");

    (void)state;
    if (f == NULL || !yaml_parser_initialize(&parser))
        return -1;
    yaml_parser_set_input_file(&parser, f);
    if (!yaml_parser_load(&parser, &doc))
        return -1;
    yaml_parser_delete(&parser);
    fclose(f);
    return 0;
}

static int unload(void **state)
{
    (void)state;
    yaml_document_delete(&doc);
    return 0;
}

static bool is_worker(const char *path)
{
    return strncmp(path, "/node/v1", 8) == 0;
}

static enum http_method method_of(const char *word)
{
    static const struct {
        const char *word;
        enum http_method method;
    } words[] = {
        {"get", HTTP_GET}, {"post", HTTP_POST}, {"put", HTTP_PUT}, {"delete", HTTP_DELETE}};

    for (size_t i = 0; i < RM_COUNT(words); i++)
        if (strcmp(words[i].word, word) == 0)
            return words[i].method;
    return HTTP_OTHER;
}

static const struct ops_route *row_of(const char *path, enum http_method method)
{
    for (size_t i = 0; i < ops_n_routes; i++)
        if (ops_routes[i].method == method && strcmp(ops_routes[i].path, path) == 0)
            return &ops_routes[i];
    return NULL;
}

/* A parameter, behind its $ref if it is one. */
static yaml_node_t *parameter(yaml_node_t *p)
{
    const char *ref = text(get(p, "$ref"));
    const char *name = strrchr(ref, '/');

    return name == NULL
               ? p
               : get(get(get(yaml_document_get_root_node(&doc), "components"), "parameters"),
                     name + 1);
}

/* A schema, behind its $ref if it is one. */
static yaml_node_t *schema_of(yaml_node_t *p)
{
    yaml_node_t *s = get(p, "schema");
    const char *name = s != NULL ? strrchr(text(get(s, "$ref")), '/') : NULL;

    return name == NULL ? s
                        : get(get(get(yaml_document_get_root_node(&doc), "components"), "schemas"),
                              name + 1);
}

/* The table's form of a parameter: its name, and the words of its enum. */
static void spec_of(yaml_node_t *p, char *out, size_t size)
{
    yaml_node_t *words = get(schema_of(p), "enum");
    size_t n = (size_t)snprintf(out, size, "%s", text(get(p, "name")));

    if (words == NULL)
        return;
    for (yaml_node_item_t *i = words->data.sequence.items.start;
         i < words->data.sequence.items.top && n < size; i++)
        n += (size_t)snprintf(out + n, size - n, "%c%s",
                              i == words->data.sequence.items.start ? '=' : '|',
                              text(yaml_document_get_node(&doc, *i)));
}

static bool takes(const struct ops_route *route, const char *spec)
{
    for (size_t i = 0; route->params[i] != NULL; i++)
        if (strcmp(route->params[i], spec) == 0)
            return true;
    return false;
}

static void same_params(const struct ops_route *route, yaml_node_t *operation, const char *path)
{
    yaml_node_t *list = get(operation, "parameters");
    size_t in_file = 0, in_table = 0;
    char spec[256];

    while (route->params[in_table] != NULL)
        in_table++;
    if (list != NULL)
        for (yaml_node_item_t *i = list->data.sequence.items.start;
             i < list->data.sequence.items.top; i++) {
            yaml_node_t *p = parameter(yaml_document_get_node(&doc, *i));

            if (strcmp(text(get(p, "in")), "query") != 0)
                continue;
            in_file++;
            spec_of(p, spec, sizeof spec);
            if (!takes(route, spec))
                fail_msg("%s: the table lacks the parameter %s", path, spec);
        }
    if (in_file != in_table)
        fail_msg("%s: %zu parameters in the table, %zu in openapi.yaml", path, in_table, in_file);
}

/* Who asks without a key, or without the right one, hears what the file says. */
static void tells_refusals(const struct ops_route *route, yaml_node_t *operation, const char *path)
{
    yaml_node_t *responses = get(operation, "responses");

    if (route->policy != OPS_OPEN && get(responses, "401") == NULL)
        fail_msg("%s: openapi.yaml lacks the response 401", path);
    if (route->policy == OPS_ADMIN && get(responses, "403") == NULL)
        fail_msg("%s: openapi.yaml lacks the response 403", path);
}

static void same_operation(const char *path, const char *word, yaml_node_t *operation, size_t *n)
{
    static const char *const policies[] = {"open", "user", "admin", "scrape"};
    enum http_method method = method_of(word);
    const struct ops_route *route;

    if (method == HTTP_OTHER)
        return; /* parameters, summary */
    if ((route = row_of(path, method)) == NULL)
        fail_msg("%s %s is in openapi.yaml but not in the table", word, path);
    else {
        assert_string_equal(text(get(operation, "x-policy")), policies[route->policy]);
        same_params(route, operation, path);
        tells_refusals(route, operation, path);
        (*n)++;
    }
}

static void table_and_file_agree(void **state)
{
    yaml_node_t *paths = get(yaml_document_get_root_node(&doc), "paths");
    size_t n = 0;

    (void)state;
    assert_non_null(paths);
    for (yaml_node_pair_t *p = paths->data.mapping.pairs.start; p < paths->data.mapping.pairs.top;
         p++) {
        const char *path = text(yaml_document_get_node(&doc, p->key));
        yaml_node_t *item = yaml_document_get_node(&doc, p->value);

        if (is_worker(path))
            continue;
        for (yaml_node_pair_t *o = item->data.mapping.pairs.start; o < item->data.mapping.pairs.top;
             o++)
            same_operation(path, text(yaml_document_get_node(&doc, o->key)),
                           yaml_document_get_node(&doc, o->value), &n);
    }
    if (n != ops_n_routes)
        fail_msg("%zu routes in the table, %zu of them in openapi.yaml", ops_n_routes, n);
}

static void rows_are_whole(void **state)
{
    (void)state;
    for (size_t i = 0; i < ops_n_routes; i++) {
        const struct ops_route *r = &ops_routes[i];
        size_t n = 0;

        assert_true(r->read != NULL || r->take != NULL);
        assert_true(r->method == HTTP_GET || r->policy == OPS_ADMIN ||
                    strcmp(r->path, "/api/v1/session") == 0);
        while (r->params[n] != NULL)
            n++;
        assert_true(n <= QUERY_MAX);
        assert_ptr_equal(row_of(r->path, r->method), r);
    }
}

static void paths_find_their_rows(void **state)
{
    static const struct {
        const char *path;
        enum http_method method;
        const char *row, *part, *allow;
    } t[] = {
        {"/api/v1/nodes", HTTP_GET, "/api/v1/nodes", "", ""},
        {"/api/v1/nodes", HTTP_HEAD, "/api/v1/nodes", "", ""},
        {"/api/v1/nodes/a%20b", HTTP_GET, "/api/v1/nodes/{node}", "a%20b", ""},
        {"/api/v1/nodes/", HTTP_GET, NULL, "", ""},
        {"/api/v1/nodes/a/b", HTTP_GET, NULL, "", ""},
        {"/api/v1/nodesx", HTTP_GET, NULL, "", ""},
        {"/api/v1", HTTP_GET, NULL, "", ""},
        {"/", HTTP_GET, NULL, "", ""},
        {"", HTTP_GET, NULL, "", ""},
        {"/api/v1/map", HTTP_PUT, NULL, "", "GET, HEAD, POST"},
        {"/healthz", HTTP_POST, NULL, "", "GET, HEAD"},
        {"/healthz", HTTP_GET, "/healthz", "", ""},
    };

    (void)state;
    for (size_t i = 0; i < RM_COUNT(t); i++) {
        struct rm_slice part[OPS_PARTS] = {{NULL, 0}};
        char allow[64];
        const struct ops_route *r =
            ops_route_of(t[i].method, rm_slice_of(t[i].path), part, allow, sizeof allow);

        if (t[i].row == NULL)
            assert_null(r);
        else
            assert_string_equal(r->path, t[i].row);
        assert_string_equal(allow, t[i].allow);
        if (t[i].row != NULL)
            assert_true(rm_slice_eq(part[0], t[i].part));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table_and_file_agree),
                                       cmocka_unit_test(rows_are_whole),
                                       cmocka_unit_test(paths_find_their_rows)};

    return cmocka_run_group_tests(tests, load, unload);
}
