/* SPDX-License-Identifier: MIT */
/* gateway/dashboard/none.c - a build without the dashboard. */
#include "gateway/dashboard/embedded.h"

const struct dashboard_file dashboard_files[] = {{0}};
const size_t dashboard_files_n = 0;
