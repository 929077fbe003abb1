/*
 * Makes every flush of a Postgres server take at least MAKEREADY_BENCH_FLUSH_US microseconds.
 *
 * Why a preloaded library: the delay must sit where a slow disk has it, inside the system call
 * that Postgres waits for while it holds its WAL write lock, so that group commit, waiting
 * backends and asynchronous commits behave as they do on that disk. commit_delay would sleep
 * before the flush and outside that lock, a FUSE file system would tax reads and writes too,
 * ptrace would tax every call, and device-mapper needs root and a kernel module.
 *
 * The real call is made first and counts towards the time: the flush is stretched, never faked.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static long flush_ns;

__attribute__((constructor)) static void prepare(void)
{
    const char *wanted = getenv("MAKEREADY_BENCH_FLUSH_US");

    flush_ns = wanted ? atol(wanted) * 1000L : 0;
    real_fsync = (int (*)(int)) dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = (int (*)(int)) dlsym(RTLD_NEXT, "fdatasync");
    prctl(PR_SET_TIMERSLACK, 1UL); /* the default lets a sleep overshoot by 50 microseconds */
}

static int stretched(int (*flush)(int), int file)
{
    struct timespec until;
    int result, kept_errno;

    clock_gettime(CLOCK_MONOTONIC, &until);
    result = flush(file);
    kept_errno = errno;
    until.tv_nsec += flush_ns;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    errno = kept_errno;
    return result;
}

int fsync(int file)
{
    return stretched(real_fsync, file);
}

int fdatasync(int file)
{
    return stretched(real_fdatasync, file);
}
