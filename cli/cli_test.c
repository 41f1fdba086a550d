/* SPDX-License-Identifier: MIT */
/* cli/cli_test.c - the command as people call it: what it prints and its exit code.
 * The program is named by the environment (ROLEMESH). One row per behaviour. */
#include "cli/cli.h"

#include "proto/base/buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <cmocka.h>

static const struct row {
    const char *name, *args;
    int exit_code;
    const char *says; /* must occur in stdout and stderr together */
} rows[] = {
    {"no command", "", CLI_BAD, "usage: rolemesh COMMAND"},
    {"help", "--help", CLI_OK, "Exit codes: 0"},
    {"help of one", "keys --help", CLI_OK,
     "usage: rolemesh keys [OPTIONS] [COMMAND...]\n\nAPI keys of a gateway"},
    {"help of one of two words", "keys create --help", CLI_OK,
     "usage: rolemesh keys create [OPTIONS] NAME\n"},
    {"help before what is missing", "check --help", CLI_OK, "usage: rolemesh check [OPTIONS] FILE"},
    {"help as a word", "help keys rotate", CLI_OK, "      --grace TIME"},
    {"help of nothing", "help frobnicate", CLI_BAD, "no such command 'frobnicate'"},
    {"version", "version", CLI_OK, "rolemesh " RM_VERSION "\n"},
    {"version as a flag", "--version", CLI_OK, "rolemesh " RM_VERSION "\n"},
    {"version with an argument", "version now", CLI_BAD,
     "rolemesh version: it takes no arguments, but got 'now'; see"},
    {"misspelt", "chekc x", CLI_BAD, "no such command 'chekc'; did you mean 'check'?"},
    {"unknown", "frobnicate", CLI_BAD, "no such command 'frobnicate'; see 'rolemesh --help'"},
    {"good map", "check configs/role-map.yaml", CLI_OK,
     "configs/role-map.yaml: ok: 2 nodes, 5 models, 5 roles\n"},
    {"good map as JSON", "check --json configs/role-map.yaml", CLI_OK,
     "{\"file\":\"configs/role-map.yaml\",\"ok\":true,\"mistakes\":[],\"more\":0}\n"},
    {"good worker's file", "check --worker configs/worker.yaml", CLI_OK,
     "configs/worker.yaml: ok\n"},
    {"bad map", "check configs/worker.yaml", CLI_BAD,
     "configs/worker.yaml:5:1: error: unknown key 'node' at top level; did you mean "
     "'nodes'?\nnode: speed"},
    {"bad map as JSON", "check --json configs/worker.yaml", CLI_BAD,
     "\"ok\":false,\"mistakes\":[{\"line\":0,"},
    {"no file", "check", CLI_BAD, "which file?"},
    {"two files", "check a b", CLI_BAD, "'b' is one argument too many"},
    {"absent file", "check nonexistent.yaml", CLI_BAD,
     "nonexistent.yaml: error: cannot be opened: no such file"},
    {"a file named like a flag", "check -- --json", CLI_BAD, "--json: error: cannot be opened"},
    {"pull of nothing", "pull", CLI_BAD, "rolemesh-pull: SOURCE is missing; see --help\n"},
    {"unknown flag", "check --jsn x", CLI_BAD, "unknown option '--jsn'; did you mean '--json'?"},
    {"keys", "keys --config", CLI_OK, "roles.NAME.context"},
    {"keys of the worker", "keys --config --worker", CLI_OK, "models_dir"},
    {"keys of described nodes", "keys --config --nodes", CLI_OK, "models.NAME.kv_per_token"},
    {"keys of what", "keys", CLI_BAD, "say create, list, revoke, rotate or --config"},
    {"keys, another verb", "keys make x", CLI_BAD, "say create, list, revoke, rotate or --config"},
    {"a key without a name", "keys create --admin", CLI_BAD, "a name for the key must follow"},
    {"a key of an odd name", "keys create a/b", CLI_BAD, "letters, digits and . _ - + @ only"},
    {"a key like an id", "keys create k_x", CLI_BAD, "does not begin with"},
    {"a key of two names", "keys create a b", CLI_BAD, "'b' is one argument too many"},
    {"a key of no lane", "keys create a --lanes fast", CLI_BAD, "--lanes takes autocomplete"},
    {"a key that never lived", "keys create a --expires 0d", CLI_BAD, "--expires takes a time"},
    {"a key of no unit", "keys create a --expires 30", CLI_BAD, "--expires takes a time"},
    {"a key of too long a time", "keys create a --expires 99999999w", CLI_BAD, "--expires takes"},
    {"a limit of nothing", "keys create a --concurrency 0", CLI_BAD,
     "--concurrency takes a number"},
    {"a limit below nothing", "keys create a --tokens-per-day -1", CLI_BAD,
     "--tokens-per-day takes"},
    {"a limit with half a flag", "keys create a --tokens-per-day", CLI_BAD, "a value must follow"},
    {"keys of both", "keys list --gateway a --state-dir b", CLI_BAD, "either --gateway or"},
    {"keys list of one", "keys list a", CLI_BAD, "it takes no arguments, but got 'a'"},
    {"keys revoke of none", "keys revoke", CLI_BAD, "which key?"},
    {"keys revoke with a flag of create", "keys revoke a --admin", CLI_BAD,
     "unknown option '--admin'"},
    {"keys of nowhere", "keys list --state-dir /nonexistent/there", CLI_OK, "no keys"},
    {"keys of nobody", "keys list --gateway unix:/nonexistent/socket", CLI_FAILED,
     "rolemesh keys: unix:/nonexistent/socket: no such file or directory"},
    {"a key file that is none", "status --key-file /nonexistent", CLI_BAD,
     "--key-file /nonexistent"},
    {"a key file with more in it", "status --key-file configs/demo.yaml", CLI_BAD,
     "expected one API key and nothing else"},
    {"half a key file", "status --key-file", CLI_BAD, "--key-file: a value must follow: FILE"},
    {"plan that fits",
     "plan --role-map configs/plans/two-machines.yaml --nodes "
     "configs/plans/two-machines.nodes.yaml",
     CLI_OK, "fits; no plan is better\n"},
    {"plan that does not fit",
     "plan --role-map configs/plans/quality-and-reasoning-two-slots.yaml --nodes "
     "configs/plans/quality-and-reasoning-two-slots.nodes.yaml",
     CLI_FAILED, "way out: role 'code': kv: q8_0\n"},
    {"plan as JSON",
     "plan --json --role-map configs/plans/too-large-480b.yaml --nodes "
     "configs/plans/too-large-480b.nodes.yaml",
     CLI_FAILED,
     "\"conflict\":{\"roles\":[\"architect\"],\"smallest\":true,\"node\":\"box\","
     "\"missing\":31754181632,\"least\":true}"},
    {"plan with overcommit",
     "plan --role-map configs/plans/overcommit-480b.yaml --nodes "
     "configs/plans/overcommit-480b.nodes.yaml",
     CLI_OK, "warning: 31754181632 bytes (29.6 GiB) of this do not fit into memory"},
    {"plan of another map", "plan --role-map configs/demo.yaml --nodes configs/worker.yaml",
     CLI_BAD, "configs/worker.yaml:5:1: error: unknown key 'node'"},
    {"plan of workers that are not there", "plan --role-map configs/plans/nobody.yaml", CLI_BAD,
     "configs/plans/nobody.yaml: error: cannot be opened"},
    {"plan of the map that is here", "plan", CLI_BAD, "role-map.yaml: error: cannot be opened"},
    {"plan with half a flag", "plan --role-map", CLI_BAD, "--role-map: a value must follow: FILE"},
    {"plan of a bad map", "plan --role-map configs/worker.yaml --nodes x", CLI_BAD,
     "unknown key 'node'"},
    {"apply to nobody", "apply --yes --gateway unix:/nonexistent/socket configs/demo.yaml",
     CLI_FAILED, "rolemesh apply: unix:/nonexistent"},
    {"apply of no file", "apply nonexistent.yaml", CLI_BAD,
     "rolemesh apply: nonexistent.yaml: No such file"},
    {"apply of two files", "apply a b", CLI_BAD, "'b' is one argument too many"},
    {"apply with an unknown flag", "apply --force", CLI_BAD, "unknown option '--force'"},
    {"apply to nonsense", "apply --gateway http://", CLI_BAD, "--gateway is http://HOST:PORT"},
    {"apply as JSON asks nobody", "apply --json configs/demo.yaml", CLI_BAD,
     "say --yes or --dry-run"},
    {"ledger of nothing", "ledger --gateway unix:/nonexistent/socket", CLI_FAILED,
     "rolemesh ledger: unix:/nonexistent/socket: no such file or directory; start "
     "rolemesh-gateway, or name another with --gateway URL\n"},
    {"ledger of nonsense", "ledger --gateway http://", CLI_BAD, "--gateway is http://HOST:PORT"},
    {"ledger of a bad map", "ledger --role-map configs/worker.yaml", CLI_BAD, "unknown key 'node'"},
    {"ledger of both", "ledger --role-map a --gateway b", CLI_BAD, "either --role-map or"},
    {"ledger with half a flag", "ledger --node", CLI_BAD, "a value must follow"},
    {"ledger with an unknown flag", "ledger --all", CLI_BAD, "unknown option '--all'"},
    {"ledger of no node", "ledger --role-map configs/demo.yaml --node nobody", CLI_FAILED,
     "no node is called 'nobody'"},
    {"forecast of what", "forecast", CLI_BAD, "which FILE, or MODEL of a role map?"},
    {"forecast of two", "forecast a b", CLI_BAD, "'b' is one argument too many"},
    {"forecast with an unknown flag", "forecast --all a", CLI_BAD, "unknown option '--all'"},
    {"forecast with half a flag", "forecast a --slots", CLI_BAD, "a value must follow"},
    {"forecast of no file", "forecast /nonexistent.gguf", CLI_BAD,
     "rolemesh forecast: /nonexistent.gguf: no such file\n"},
    {"forecast of text", "forecast configs/demo.yaml", CLI_BAD,
     "rolemesh forecast: configs/demo.yaml: offset 0: this is not a GGUF file\n"},
    {"forecast of a directory", "forecast configs", CLI_BAD,
     "rolemesh forecast: configs: not a regular file\n"},
    {"forecast of no size", "forecast a --context 8kb", CLI_BAD,
     "--context takes tokens such as 8192 or 32Ki"},
    {"forecast of half a list", "forecast a --context 4Ki,", CLI_BAD,
     ", not '4Ki,'; see 'rolemesh forecast"},
    {"forecast of nothing at all", "forecast a --context 0", CLI_BAD,
     ", not '0'; see 'rolemesh forecast"},
    {"forecast beyond numbers", "forecast a --context 99999999999999999999", CLI_BAD,
     ", not '99999999999999999999'; see 'rolemesh forecast"},
    {"forecast beyond any model", "forecast a --context 17Mi", CLI_BAD,
     ", not '17Mi'; see 'rolemesh forecast"},
    {"forecast of many contexts",
     "forecast a --context 16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,16,"
     "16",
     CLI_BAD, "at most 24"},
    {"forecast of no slots", "forecast a --slots 0", CLI_BAD,
     "--slots takes a number from 1 to 64, not '0'"},
    {"forecast of odd slots", "forecast a --slots 2x", CLI_BAD,
     "--slots takes a number from 1 to 64, not '2x'"},
    {"forecast of a KV type", "forecast a --kv q4_0", CLI_BAD,
     "--kv takes f16 or q8_0, not 'q4_0'"},
    {"forecast of no model", "forecast x --role-map configs/demo.yaml", CLI_BAD,
     "rolemesh forecast: configs/demo.yaml has no model 'x'\n"},
    {"forecast of a bad map", "forecast x --role-map configs/worker.yaml", CLI_BAD,
     "unknown key 'node'"},
    {"forecast of no address", "forecast x --node abc", CLI_BAD,
     "--node takes a worker's HOST:PORT, or with --role-map a name, not 'abc'"},
    {"forecast of nobody", "forecast /a.gguf --node unix:/nonexistent/socket", CLI_FAILED,
     "rolemesh forecast: node unix:/nonexistent/socket: no such file or directory\n"},
    {"help with an option behind", "help status --no-color", CLI_OK, "usage: rolemesh status"},
    {"output that cannot be written", "help 4>&1 >/dev/full 2>&4; exit $?; :", CLI_FAILED,
     "what was asked for cannot be written: No space left on device"},
    {"an option before the command", "--no-color version", CLI_OK, "rolemesh " RM_VERSION "\n"},
    {"half an option before the command", "--gateway", CLI_BAD, "--gateway: a value must follow"},
    {"a foreign option before the command", "--json status", CLI_BAD,
     "unknown option '--json' before a command; see 'rolemesh --help'"},
    {"a value behind a '='", "forecast --slots=0 a", CLI_BAD,
     "--slots takes a number from 1 to 64"},
    {"a flag with a value", "check --json=yes x", CLI_BAD, "--json takes no value"},
    {"the last of two options", "status --gateway http:// --gateway unix:/nonexistent/a",
     CLI_FAILED, "rolemesh status: unix:/nonexistent/a"},
    {"a short option with its value", "ps -n0", CLI_BAD, "--lines takes a number from 1 to 10000"},
    {"two short options in one", "ps -an", CLI_BAD, "write one option at a time"},
    {"a time that is none", "usage --since 5", CLI_BAD, "--since takes a time: 30m or 2d ago"},
    {"a date that is none", "usage --since 2026-13-01", CLI_BAD, "not '2026-13-01'"},
    {"a date", "usage --since 2026-01-02T03:04:05Z --gateway unix:/nonexistent", CLI_FAILED,
     "rolemesh usage: unix:/nonexistent"},
    {"watching too often", "status --watch=0.01", CLI_BAD, "--watch takes seconds from 0.1 to"},
    {"watching with a comma", "status --watch=0,5", CLI_BAD, "not '0,5'"},
    {"events of two kinds", "events -f --watch", CLI_BAD, "--follow goes without --watch"},
    {"an order about nothing", "drain", CLI_BAD, "which role or node? see 'rolemesh drain --help'"},
    {"an order about a node and more", "undrain x --node y", CLI_BAD,
     "--node goes without another name"},
    {"an output that is none", "nodes -o yaml", CLI_BAD, "--output takes table, wide, csv or json"},
    {"completion of no shell", "completion tcsh", CLI_BAD, "SHELL is bash, zsh or fish"},
    {"what completes a command", "__complete bash sta", CLI_OK, "status\t"},
    {"status of nothing", "status --gateway unix:/nonexistent/socket", CLI_FAILED,
     "rolemesh status: unix:/nonexistent"},
    {"status of nonsense", "status --gateway http://", CLI_BAD, "--gateway is http://HOST:PORT"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    struct rm_buf out;
    char command[512], bytes[4096];
    size_t n;
    FILE *pipe;
    int status;

    snprintf(command, sizeof command, "'%s' %s 2>&1", getenv("ROLEMESH"), row->args);
    pipe = popen(command, "r");
    assert_non_null(pipe);
    rm_buf_init(&out, 1 << 20);
    while ((n = fread(bytes, 1, sizeof bytes, pipe)) > 0)
        assert_int_equal(rm_buf_put(&out, bytes, n), 0);
    status = pclose(pipe);
    assert_true(WIFEXITED(status));
    if (out.data == NULL || strstr(out.data, row->says) == NULL)
        fail_msg("expected: %s\nsaid: %s", row->says, out.data != NULL ? out.data : "");
    assert_int_equal(WEXITSTATUS(status), row->exit_code);
    rm_buf_clear(&out);
}

int main(void)
{
    struct CMUnitTest tests[RM_COUNT(rows)];

    if (getenv("ROLEMESH") == NULL) {
        fputs("ROLEMESH must name the program\n", stderr);
        return 2;
    }
    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
