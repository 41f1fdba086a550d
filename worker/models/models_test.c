/* SPDX-License-Identifier: MIT */
/* worker/models/models_test.c - look.c and list.c on a directory made for the test: names that may
 * not be followed, files that are no models, split models, the content id, the inventory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "worker/models/models.h"

static char base[64], dir[80];
static int dir_fd;

/* A whole GGUF file of `size` bytes (128 or more): a key, and one tensor of bytes that fills it. */
static void put_model_part(const char *rel, size_t size, uint16_t no, uint16_t count)
{
    enum { HEAD = 160 };
    unsigned char *bytes = calloc(1, size), *p = bytes;
    char path[400];
    int fd;

#define PUT(text) (memcpy(p, text, sizeof(text) - 1), p += sizeof(text) - 1)
#define PUT16(v)  (*p++ = (unsigned char)(v), *p++ = (unsigned char)((v) >> 8))
    assert_true(size > HEAD);
    PUT("GGUF\3\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0");
    PUT("\x14\0\0\0\0\0\0\0general.architecture\x8\0\0\0\5\0\0\0\0\0\0\0llama");
    PUT("\x8\0\0\0\0\0\0\0split.no\2\0\0\0");
    PUT16(no);
    PUT("\xb\0\0\0\0\0\0\0split.count\2\0\0\0");
    PUT16(count);
    PUT("\1\0\0\0\0\0\0\0");
    *p++ = (unsigned char)('a' + no);
    PUT("\1\0\0\0");
    for (int i = 0; i < 8; i++)
        *p++ = (unsigned char)((size - HEAD) >> (8 * i));
    PUT("\x18\0\0\0\0\0\0\0\0\0\0\0"); /* I8, offset 0 */
#undef PUT
#undef PUT16
    assert_int_equal((p - bytes + 31) / 32 * 32, HEAD);
    memset(bytes + HEAD, 'x', size - HEAD);
    snprintf(path, sizeof(path), "%s/%s", dir, rel);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
    free(bytes);
}

static void put_model(const char *rel, size_t size)
{
    put_model_part(rel, size, 0, 1);
}

/* A file beneath the models directory that begins with `magic` and has `size` bytes. */
static void put(const char *rel, const char *magic, size_t size)
{
    char path[400], *bytes = malloc(size + 1);
    int fd;

    snprintf(path, sizeof(path), "%s/%s", dir, rel);
    memset(bytes, 'x', size + 1);
    memcpy(bytes, magic, strlen(magic) < size ? strlen(magic) : size);
    fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0 && write(fd, bytes, size) == (ssize_t)size);
    close(fd);
    free(bytes);
}

static void link_to(const char *target, const char *rel)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%s", dir, rel);
    assert_int_equal(symlink(target, path), 0);
}

static void put_socket(const char *rel)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(snprintf(a.sun_path, sizeof(a.sun_path), "%s/%s", dir, rel) <
                (int)sizeof(a.sun_path));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    close(fd);
}

static int set_up(void **state)
{
    char path[256];

    (void)state;
    strcpy(base, "/tmp/rolemesh-models-XXXXXX");
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof(dir), "%s/models", base);
    assert_int_equal(mkdir(dir, 0755), 0);
    snprintf(path, sizeof(path), "%s/sub", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/dir.gguf", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/fifo.gguf", dir);
    assert_int_equal(mkfifo(path, 0644), 0);
    put_model("a.gguf", 4096);
    put_model("sub/b.gguf", 400);
    put_model("half.gguf", 4096);
    snprintf(path, sizeof(path), "%s/half.gguf", dir);
    assert_int_equal(truncate(path, 4095), 0);
    snprintf(path, sizeof(path), "%s/sparse.gguf", dir);
    put_model("sparse.gguf", 4096);
    assert_int_equal(truncate(path, 1LL << 40), 0);
    put("bad.gguf", "GGML", 4096);
    put("short.gguf", "GGUF", 23);
    put("empty.gguf", "", 0);
    put("note.txt", "GGUF", 4096);
    put("../outside.gguf", "GGUF", 4096);
    put_model_part("s-00001-of-00002.gguf", 500, 0, 2);
    put_model_part("s-00002-of-00002.gguf", 600, 1, 2);
    put_model_part("gap-00001-of-00003.gguf", 500, 0, 3);
    put_model_part("gap-00003-of-00003.gguf", 500, 2, 3);
    put_model_part("swap-00001-of-00002.gguf", 500, 1, 2);
    put_model_part("swap-00002-of-00002.gguf", 500, 0, 2);
    put_model_part("alone.gguf", 500, 0, 2);
    snprintf(path, sizeof(path), "%s/outside.gguf", base);
    link_to(path, "link.gguf");
    link_to("sub/b.gguf", "inner.gguf");
    link_to("loop.gguf", "loop.gguf");
    link_to("nothing.gguf", "dangling.gguf");
    link_to("/dev/zero", "zero.gguf");
    put_socket("socket.gguf");
    for (size_t i = 0; i < 3; i++) {
        static const char *const dirs[] = {"org", "org/repo", "org/two"};

        snprintf(path, sizeof(path), "%s/%s", dir, dirs[i]);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    put_model("org/repo/m-Q8_0.gguf", 4096);
    put("org/repo/mmproj-Q8_0.gguf", "GGUF", 40);
    put_model_part("org/repo/m-Q4_K_M-00001-of-00002.gguf", 500, 0, 2);
    put_model_part("org/repo/m-Q4_K_M-00002-of-00002.gguf", 600, 1, 2);
    put_model("org/two/a-Q8_0.gguf", 4096);
    put_model("org/two/b-Q8_0.gguf", 4096);
    link_to(base, "org/out");
    dir_fd = models_open_dir(dir);
    return dir_fd < 0;
}

static int unlink_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static int tear_down(void **state)
{
    (void)state;
    close(dir_fd);
    return nftw(base, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const struct row {
    const char *name, *rel; /* rel: put after the models directory; '@': the whole path as it is */
    int err;
    const char *why; /* part of it; of a hub's model its file */
} rows[] = {
    {"a file", "/a.gguf", 0, ""},
    {"in a folder", "/sub/b.gguf", 0, ""},
    {"two slashes", "//a.gguf", 0, ""},
    {"a link that stays inside", "/inner.gguf", 0, ""},
    {"split", "/s-00001-of-00002.gguf", 0, ""},
    {"not there", "/none.gguf", RM_ERR_MODEL_FILE, "no such file"},
    {"other magic", "/bad.gguf", RM_ERR_MODEL_FILE, "/bad.gguf: offset 0: this is not a GGUF file"},
    {"a sparse file", "/sparse.gguf", 0, ""},
    {"cut in its head", "/short.gguf", RM_ERR_MODEL_FILE,
     "/short.gguf: offset 23: truncated header: it is cut short after 23 bytes"},
    {"empty", "/empty.gguf", RM_ERR_MODEL_FILE, "/empty.gguf: offset 0: truncated header"},
    {"half downloaded", "/half.gguf", RM_ERR_MODEL_FILE,
     "/half.gguf: offset 4095: cut short: tensor 'a' needs 3936 bytes at offset 160, the file ends "
     "at 4095"},
    {"parts in the wrong order", "/swap-00001-of-00002.gguf", RM_ERR_MODEL_FILE,
     "swap-00001-of-00002.gguf: offset 89: this is part 2, expected part 1"},
    {"a part without the others", "/alone.gguf", RM_ERR_MODEL_FILE, "part 2 is missing"},
    {"FIFO", "/fifo.gguf", RM_ERR_MODEL_FILE, "is not a regular file"},
    {"socket", "/socket.gguf", RM_ERR_MODEL_FILE, "socket.gguf\": No such device or address"},
    {"link to nothing", "/dangling.gguf", RM_ERR_MODEL_FILE, "no such file"},
    {"link to a device", "/zero.gguf", RM_ERR_CONF, "leads out"},
    {"directory", "/dir.gguf", RM_ERR_MODEL_FILE, "is not a regular file"},
    {"link that leads out", "/link.gguf", RM_ERR_CONF, "leads out"},
    {"link to itself", "/loop.gguf", RM_ERR_CONF, "leads out"},
    {"dot dot", "/../outside.gguf", RM_ERR_CONF, "leads out"},
    {"dot dot and back", "/../models/a.gguf", RM_ERR_CONF, "leads out"},
    {"outside", "@/etc/x.gguf", RM_ERR_CONF, "does not lie beneath"},
    {"the directory's name as a prefix", "-x/a.gguf", RM_ERR_CONF, "does not lie beneath"},
    {"relative", "@a.gguf", RM_ERR_CONF, "not an absolute path"},
    {"a scheme", "@http://org/model", RM_ERR_CONF, "not an absolute path"},
    {"a hub's model", "@hf:org/repo:Q8_0", 0, "org/repo/m-Q8_0.gguf"},
    {"a hub's model, case aside", "@hf:org/repo:q8_0", 0, "org/repo/m-Q8_0.gguf"},
    {"a hub's split model", "@hf:org/repo:Q4_K_M", 0, "org/repo/m-Q4_K_M-00001-of-00002.gguf"},
    {"a hub's model that is not there", "@hf:org/repo:Q2_K", RM_ERR_MODEL_FILE, "not on this node"},
    {"a hub's repository that is not there", "@hf:org/none:Q8_0", RM_ERR_MODEL_FILE,
     "not on this node"},
    {"a hub's repository that is a link out", "@hf:org/out:Q8_0", RM_ERR_MODEL_FILE,
     "not on this node"},
    {"a hub's model that may be two", "@hf:org/two:Q8_0", RM_ERR_CONF, "several models fit"},
    {"a hub's name that climbs", "@hf:../org:Q8_0", RM_ERR_CONF, "is not hf:ORG/REPO:QUANT"},
    {"other ending", "/note.txt", RM_ERR_CONF, "not a .gguf"},
    {"second part", "/s-00002-of-00002.gguf", RM_ERR_CONF, "part 2 of 2: name the first"},
    {"part missing", "/gap-00001-of-00003.gguf", RM_ERR_MODEL_FILE,
     "gap-00002-of-00003.gguf\": no such file"},
};

static void run_row(void **state)
{
    const struct row *row = *state;
    char source[512], why[MODELS_WHY_MAX];
    struct model_file m;

    if (row->rel[0] == '@')
        snprintf(source, sizeof(source), "%s", row->rel + 1);
    else
        snprintf(source, sizeof(source), "%s%s", dir, row->rel);
    assert_int_equal(model_look(dir_fd, dir, source, true, &m, NULL, why), row->err);
    if (row->err == 0) {
        assert_int_equal(strlen(m.hash), 64);
        if (row->why[0] != '\0') /* a hub's name: where its file is */
            snprintf(source, sizeof(source), "%s/%s", dir, row->why);
        assert_string_equal(m.path, source);
    } else {
        assert_non_null(strstr(why, row->why));
    }
}

static void long_names(void **state)
{
    char source[2 * MODELS_PATH_MAX], why[MODELS_WHY_MAX];
    struct model_file m;

    (void)state;
    memset(source, 'a', sizeof(source) - 1);
    source[sizeof(source) - 1] = '\0';
    source[0] = '/';
    assert_int_equal(model_look(dir_fd, dir, source, false, &m, NULL, why), RM_ERR_CONF);
    snprintf(source, sizeof(source), "%s/%0400d.gguf", dir, 1);
    assert_int_equal(model_look(dir_fd, dir, source, false, &m, NULL, why), RM_ERR_MODEL_FILE);
}

static void look(const char *rel, struct model_file *m)
{
    char source[256], why[MODELS_WHY_MAX];

    snprintf(source, sizeof(source), "%s/%s", dir, rel);
    assert_int_equal(model_look(dir_fd, dir, source, true, m, NULL, why), 0);
}

/* Same bytes, same id whatever the name; other bytes at sampled places or another size, another. */
static void content_id(void **state)
{
    enum { BIG = 5 << 20 };
    static const off_t at[] = {300, 1 << 20, BIG - (1 << 20) - 100, BIG - 1};
    struct model_file a, b;
    char path[256];
    int fd;

    (void)state;
    put_model("h1.gguf", BIG);
    put_model("h2.gguf", BIG);
    look("h1.gguf", &a);
    look("h2.gguf", &b);
    assert_string_equal(a.hash, b.hash);
    snprintf(path, sizeof(path), "%s/h2.gguf", dir);
    fd = open(path, O_WRONLY);
    for (size_t i = 0; i < RM_COUNT(at); i++) {
        assert_int_equal(pwrite(fd, "Y", 1, at[i]), 1);
        look("h2.gguf", &b);
        assert_string_not_equal(a.hash, b.hash);
        assert_int_equal(pwrite(fd, "x", 1, at[i]), 1);
    }
    close(fd);
    look("h2.gguf", &b);
    assert_string_equal(a.hash, b.hash);
    assert_int_equal(truncate(path, BIG + 1), 0);
    look("h2.gguf", &b);
    assert_string_not_equal(a.hash, b.hash);
    unlink(path);
    snprintf(path, sizeof(path), "%s/h1.gguf", dir);
    unlink(path);
}

static void split_is_summed(void **state)
{
    struct model_file m;

    (void)state;
    look("s-00001-of-00002.gguf", &m);
    assert_int_equal(m.files, 2);
    assert_int_equal(m.bytes, 1100);
}

static void inventory(void **state)
{
    struct model_list list;
    struct rm_buf text;
    char names[16 * MODELS_PATH_MAX] = "";

    (void)state;
    assert_int_equal(models_list(dir_fd, &list), 0);
    for (uint32_t i = 0; i < list.n; i++)
        snprintf(names + strlen(names), sizeof(names) - strlen(names), "%s:%u ", list.v[i].path,
                 list.v[i].files);
    assert_string_equal(names,
                        "a.gguf:1 alone.gguf:1 bad.gguf:1 empty.gguf:1 "
                        "gap-00001-of-00003.gguf:2 half.gguf:1 "
                        "org/repo/m-Q4_K_M-00001-of-00002.gguf:2 org/repo/m-Q8_0.gguf:1 "
                        "org/repo/mmproj-Q8_0.gguf:1 org/two/a-Q8_0.gguf:1 org/two/b-Q8_0.gguf:1 "
                        "s-00001-of-00002.gguf:2 "
                        "short.gguf:1 sparse.gguf:1 sub/b.gguf:1 swap-00001-of-00002.gguf:2 ");
    assert_false(list.truncated);
    rm_buf_init(&text, 65536);
    assert_int_equal(models_list_encode(&list, dir, &text), 0);
    assert_non_null(strstr(text.data, "{\"path\":\"a.gguf\",\"bytes\":4096,\"mtime\":"));
    rm_buf_clear(&text);
    models_list_clear(&list);
}

static void inventory_is_bounded(void **state)
{
    char rel[300] = "deep", path[512];
    struct model_list list;

    (void)state;
    for (int i = 0; i < MODELS_DEPTH_MAX + 2; i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, rel);
        assert_int_equal(mkdir(path, 0755), 0);
        strcat(rel, "/d");
    }
    assert_int_equal(models_list(dir_fd, &list), 0);
    assert_true(list.truncated);
    models_list_clear(&list);
    for (int i = 0; i < MODELS_LIST_MAX + 5; i++) {
        snprintf(rel, sizeof(rel), "n%d.gguf", i);
        put(rel, "GGUF", 1);
    }
    assert_int_equal(models_list(dir_fd, &list), 0);
    assert_true(list.truncated);
    assert_int_equal(list.n, MODELS_LIST_MAX);
    models_list_clear(&list);
}

int main(void)
{
    static const struct CMUnitTest fixed[] = {
        cmocka_unit_test(long_names), cmocka_unit_test(content_id),
        cmocka_unit_test(split_is_summed), cmocka_unit_test(inventory),
        cmocka_unit_test(inventory_is_bounded)};
    struct CMUnitTest tests[RM_COUNT(fixed) + RM_COUNT(rows)];

    for (size_t i = 0; i < RM_COUNT(rows); i++)
        tests[i] = (struct CMUnitTest){rows[i].name, run_row, NULL, NULL, (void *)&rows[i]};
    memcpy(tests + RM_COUNT(rows), fixed, sizeof(fixed));
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
