/* SPDX-License-Identifier: MIT */
/* tests/support/tsan_close.c - tells ThreadSanitizer of the descriptors that libuv closes. In the
 * programs of the tsan preset only; any thread.
 *
 * ThreadSanitizer follows descriptors through the functions of the C library: close() by one thread
 * and read() by another without an order between them is a race. libuv closes with
 * syscall(SYS_close), which it does not see, and it does not see openat() either. So a number that
 * the loop has closed and another thread was given anew by openat() is still the loop's to it, and
 * that thread's close() a race that is none. Here the programs get a syscall() of their own that
 * says what it closes; a suppression would hide real races of that kind. */
#include <dlfcn.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/syscall.h>

/* Of the sanitizer runtime; declared in <sanitizer/linux_syscall_hooks.h>, which gcc leaves out. */
void __sanitizer_syscall_pre_impl_close(long fd);

long syscall(long number, ...);

static long (*next_syscall)(long number, ...);

/* Before any thread is there, so that a forked child need not look it up. */
static void __attribute__((constructor)) find_next(void)
{
    *(void **)&next_syscall = dlsym(RTLD_NEXT, "syscall");
}

long syscall(long number, ...)
{
    long a[6]; /* no call takes more; those that take fewer ignore the rest (syscall(2)) */
    va_list args;

    va_start(args, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(args, long);
    va_end(args);
    if (next_syscall == NULL)
        find_next();
    if (number == SYS_close)
        __sanitizer_syscall_pre_impl_close((int)a[0]);
    return next_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
