/* SPDX-License-Identifier: MIT */
#include "proto/base/err.h"

#include <stddef.h>
#include <uv.h>

static const struct err_row {
    int number, status;
    const char *name, *code, *text;
} err_rows[] = {
#define ERR_ROW(name_, number_, status_, code_, text_)                                             \
    {.number = (number_), .status = (status_), .name = #name_, .code = (code_), .text = (text_)},
    RM_ERRORS(ERR_ROW)
#undef ERR_ROW
};

static const struct err_row *err_find(int err)
{
    for (size_t i = 0; i < RM_COUNT(err_rows); i++)
        if (err_rows[i].number == err)
            return &err_rows[i];
    return NULL;
}

const char *rm_strerror(int err)
{
    const struct err_row *row = err_find(err);

    if (row != NULL)
        return row->text;
    return err == 0 ? "ok" : err > 0 ? "not an error" : uv_strerror(err);
}

const char *rm_err_name(int err)
{
    const struct err_row *row = err_find(err);

    if (row != NULL)
        return row->name;
    return err >= 0 ? "OK" : uv_err_name(err);
}

int rm_err_status(int err)
{
    const struct err_row *row = err_find(err);

    return row != NULL ? row->status : 500;
}

const char *rm_err_code(int err)
{
    const struct err_row *row = err_find(err);

    return row != NULL ? row->code : "internal_error";
}
