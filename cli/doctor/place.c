/* SPDX-License-Identifier: MIT */
/* cli/doctor/place.c - files of this machine: the role map, models, state directories, room on
 * disks, and the programs beside this one. */
#include "cli/doctor/doctor.h"

#include <dirent.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "cli/human.h"
#include "cli/run.h"
#include "proto/base/buf.h"
#include "proto/base/state_dir.h"
#include "proto/conf/role_map.h"
#include "proto/gguf/gguf_model.h"

enum { VERSION_MS = 10000, PATH_ROOM = 1400 };

#define GIB ((uint64_t)1 << 30)

/* ---- disks ---- */

void place_judge_disk(struct doctor *d, const char *subject, uint64_t total, uint64_t available,
                      bool read_only, const char *why)
{
    char a[HUMAN_MAX], b[HUMAN_MAX];

    if (total == 0)
        doctor_say(d, DOCTOR_SKIPPED, "disk", subject, NULL, "%s", why);
    else if (read_only)
        doctor_say(d, DOCTOR_FAILURE, "disk", subject, "mount it writable, or name another place",
                   "it cannot be written to");
    else if (available < GIB)
        doctor_say(d, DOCTOR_FAILURE, "disk", subject, "make room: history and KV state are lost",
                   "only %s of %s free", human_bytes(available, a), human_bytes(total, b));
    else if (available < 10 * GIB || available < total / 50)
        doctor_say(d, DOCTOR_WARNING, "disk", subject, "make room before the next model is fetched",
                   "%s of %s free", human_bytes(available, a), human_bytes(total, b));
    else
        doctor_say(d, DOCTOR_OK, "disk", subject, NULL, "%s of %s free", human_bytes(available, a),
                   human_bytes(total, b));
}

void place_check_disk(struct doctor *d, const char *path)
{
    struct statvfs s;

    if (statvfs(path, &s) < 0)
        place_judge_disk(d, path, 0, 0, false, strerror(errno));
    else
        place_judge_disk(d, path, (uint64_t)s.f_blocks * s.f_frsize,
                         (uint64_t)s.f_bavail * s.f_frsize, (s.f_flag & ST_RDONLY) != 0, "");
}

/* ---- state directories ---- */

void place_judge_state(struct doctor *d, const char *path, bool mine, unsigned mode)
{
    if (!mine)
        doctor_say(d, DOCTOR_WARNING, "state", path,
                   "run the daemons and this command as the same user",
                   "it belongs to another user");
    else if ((mode & 0022) != 0)
        doctor_say(d, DOCTOR_FAILURE, "state", path, "chmod 700 it: keys are judged by its files",
                   "others may write into it (mode %04o)", mode & 07777);
    else if ((mode & 0055) != 0)
        doctor_say(d, DOCTOR_WARNING, "state", path, "chmod 700 it",
                   "others may look into it (mode %04o)", mode & 07777);
    else
        doctor_say(d, DOCTOR_OK, "state", path, NULL, "mode %04o", mode & 07777);
}

static void check_state(struct doctor *d, const char *path)
{
    struct stat s;

    if (stat(path, &s) < 0)
        doctor_say(d, DOCTOR_SKIPPED, "state", path, NULL, "%s", strerror(errno));
    else if (!S_ISDIR(s.st_mode))
        doctor_say(d, DOCTOR_FAILURE, "state", path, "move it away", "it is no directory");
    else {
        place_judge_state(d, path, s.st_uid == geteuid(), (unsigned)s.st_mode);
        place_check_disk(d, path);
    }
}

/* The default place has one directory for the gateway and one for each worker. */
void place_check_states(struct doctor *d, const char *dir)
{
    char top[RM_STATE_DIR_MAX], path[PATH_ROOM];
    struct dirent *e;
    unsigned n = 0;
    DIR *open;

    if (dir != NULL) {
        check_state(d, dir);
        return;
    }
    if (rm_state_dir_default(".", top) < 0) {
        doctor_say(d, DOCTOR_SKIPPED, "state", "", NULL, "neither XDG_STATE_HOME nor HOME is set");
        return;
    }
    top[strlen(top) > 2 ? strlen(top) - 2 : 0] = '\0'; /* without the "/." */
    for (open = opendir(top); open != NULL && (e = readdir(open)) != NULL && n < 16;) {
        if (e->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", top, e->d_name);
        check_state(d, path);
        n++;
    }
    if (open != NULL)
        closedir(open);
    if (n == 0)
        doctor_say(d, DOCTOR_SKIPPED, "state", top, NULL,
                   "no daemon of this user has kept anything there");
}

/* ---- programs ---- */

static void check_program(struct doctor *d, const char *name)
{
    char path[4096], want[64];
    struct run_result run;
    int r;

    rm_text_copy(path, sizeof path, run_beside(name));
    if (path[0] == '\0') {
        doctor_say(d, DOCTOR_SKIPPED, "program", name, NULL, "not beside this command");
        return;
    }
    r = run_program((const char *const[]){path, "--version", NULL}, VERSION_MS, &run);
    snprintf(want, sizeof want, "%s %s", name, RM_VERSION);
    if (r < 0 || run.exit_code != 0 || run.out.data == NULL)
        doctor_say(d, DOCTOR_FAILURE, "program", name, "install it anew", "it does not run: %s",
                   r < 0 ? rm_strerror(r) : "it ended with an error");
    else if (strncmp(run.out.data, want, strlen(want)) != 0)
        doctor_say(d, DOCTOR_WARNING, "program", name, "install programs of one version",
                   "%.*s, and this command is %s", (int)strcspn(run.out.data, "\n"), run.out.data,
                   RM_VERSION);
    else
        doctor_say(d, DOCTOR_OK, "program", name, NULL, "version %s", RM_VERSION);
    run_result_clear(&run);
}

void place_check_programs(struct doctor *d)
{
    static const char *const names[] = {"rolemesh-gateway", "rolemesh-worker", "rolemesh-core",
                                        "rolemesh-pull"};

    for (size_t i = 0; i < RM_COUNT(names); i++)
        check_program(d, names[i]);
}

/* ---- the role map ---- */

struct role_map *place_check_map(struct doctor *d, const char *file, bool keyed)
{
    const char *name = file != NULL ? file : "role-map.yaml";
    struct conf_report report;
    struct role_map *map = NULL;
    struct rm_buf line;
    int r;

    if (file == NULL && access(name, F_OK) != 0) {
        doctor_say(d, DOCTOR_SKIPPED, "role map", "", NULL,
                   "no role-map.yaml here; --role-map names one");
        return NULL;
    }
    conf_report_init(&report);
    report.keyed = keyed;
    rm_buf_init(&line, 4096);
    r = role_map_load(name, &report, &map);
    if (r == 0)
        doctor_say(d, DOCTOR_OK, "role map", name, NULL, "%zu nodes, %zu models, %zu roles",
                   map->n_nodes, map->n_models, map->n_roles);
    else if (report.n > 0 && conf_report_line(&report, 0, &line) == 0)
        doctor_say(d, DOCTOR_FAILURE, "role map", name, "rolemesh check FILE tells all of them",
                   "%u mistake%s: %s", report.total, report.total == 1 ? "" : "s", line.data);
    else
        doctor_say(d, DOCTOR_FAILURE, "role map", name, NULL, "%s", rm_strerror(r));
    rm_buf_clear(&line);
    conf_report_clear(&report);
    return map;
}

/* Is a node that may host the model on this machine, as far as its address tells? */
static bool is_for_here(const struct role_map *map, const struct map_model *model)
{
    for (size_t r = 0; r < map->n_roles; r++)
        for (size_t n = 0; map->roles[r].model == model && n < map->n_nodes; n++)
            if (map->nodes[n].address.loopback &&
                map_role_allows(&map->roles[r], map->nodes[n].name))
                return true;
    return false;
}

static void check_model(struct doctor *d, const struct map_model *model, const char *path,
                        bool for_here)
{
    struct gguf_head head;
    char why[GGUF_WHY_MAX], size[HUMAN_MAX];
    uint64_t bytes = 0;

    if (access(path, F_OK) != 0) {
        if (for_here)
            doctor_say(d, DOCTOR_FAILURE, "model file", model->name,
                       "rolemesh pull fetches it, or mend `source` in the map", "%s is not here",
                       path);
        return;
    }
    if (gguf_read_model(path, &head, &bytes, why) < 0)
        doctor_say(d, DOCTOR_FAILURE, "model file", model->name,
                   "fetch it again: rolemesh pull goes on where it stopped", "%s", why);
    else
        doctor_say(d, DOCTOR_OK, "model file", model->name, NULL, "%s, whole, %s", path,
                   human_bytes(bytes, size));
}

void place_check_models(struct doctor *d, const struct role_map *map, const char *models_dir)
{
    char path[PATH_ROOM];

    for (size_t i = 0; map != NULL && i < map->n_models; i++) {
        const struct map_model *m = &map->models[i];

        if (m->path == NULL)
            continue;
        snprintf(path, sizeof path, "%s", m->path);
        check_model(d, m, path, is_for_here(map, m));
    }
    if (models_dir != NULL)
        place_check_disk(d, models_dir);
}

void place_check_listening(struct doctor *d, const struct role_map *map, bool keyed)
{
    for (size_t i = 0; map != NULL && i < map->gateway.listen.n; i++) {
        if (map->gateway.listen.item[i].loopback)
            continue;
        if (keyed)
            doctor_say(d, DOCTOR_OK, "keys", "", NULL,
                       "the gateway listens beyond this machine, and has keys");
        else if (map->gateway.listen_without_keys)
            doctor_say(d, DOCTOR_WARNING, "keys", "",
                       "rolemesh keys create NAME --admin, then remove listen_without_keys",
                       "whoever reaches this machine may use the gateway: listen_without_keys");
        else
            doctor_say(d, DOCTOR_FAILURE, "keys", "", "rolemesh keys create NAME --admin",
                       "the map listens beyond this machine, and there are no keys: the gateway "
                       "will not start");
        return;
    }
}

/* ---- ports ---- */

/* Can somebody listen there? 0, or why not. */
static int try_listen(const struct conf_addr *a)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_PASSIVE, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    char port[8];
    int fd, on = 1, r = 0;

    snprintf(port, sizeof port, "%u", a->port);
    if (getaddrinfo(strcmp(a->host, "localhost") == 0 ? "127.0.0.1" : a->host, port, &hints,
                    &found) != 0)
        return 0; /* no address of numbers: not ours to judge */
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        if (bind(fd, found->ai_addr, found->ai_addrlen) < 0)
            r = errno;
        close(fd);
    }
    freeaddrinfo(found);
    return r;
}

void place_check_ports(struct doctor *d, const struct role_map *map)
{
    for (size_t i = 0; map != NULL && i < map->gateway.listen.n; i++) {
        const struct conf_addr *a = &map->gateway.listen.item[i];
        char name[300];
        int err;

        if (a->port == 0)
            continue;
        snprintf(name, sizeof name, "%s port %u", a->host, a->port);
        err = try_listen(a);
        if (err == EADDRINUSE)
            doctor_say(d, DOCTOR_FAILURE, "port", name,
                       "stop what listens there (ss -ltnp shows it), or choose another in the map",
                       "something else has it, so the gateway of this map cannot start");
        else if (err == EACCES)
            doctor_say(d, DOCTOR_FAILURE, "port", name, "choose one above 1023",
                       "this user may not listen there");
        else if (err != 0)
            doctor_say(d, DOCTOR_WARNING, "port", name, "is that an address of this machine?", "%s",
                       strerror(err));
        else
            doctor_say(d, DOCTOR_OK, "port", name, NULL, "free");
    }
}
