/* A process that loads this (LD_PRELOAD) counts its calls that change files below some directories,
   and is killed at one of them, or finds the disk full from there on.

   A point is such a call, before it is made. Those of a process are numbered from 0. It writes a
   line for each to a file: the call, whether it needs space, and the path below the directory.
   `tests/faults.py` compiles this, and arms it in the process that shall fail. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { KILL = 1, HALF = 2, FULL = 3 };
enum { GO, NO_SPACE, CUT };
#define NEEDS_SPACE 1
#define FREE 0

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char roots[4][PATH_MAX];
static int root_count, report = -1, mode;
static long chosen, count;

/* Arms it: `below` are up to four directories, one a line; `fate` is what happens at point `number`,
   and 0 for nothing; lines go to the file descriptor `lines`. */
void faults_arm(const char *below, int lines, int fate, long number)
{
    root_count = 0;
    while (*below && root_count < 4) {
        size_t length = strcspn(below, "\n");
        snprintf(roots[root_count++], PATH_MAX, "%.*s", (int)length, below);
        below += length + (below[length] == '\n');
    }
    report = lines;
    mode = fate;
    chosen = number;
    count = 0;
}

static void die(void)
{
    syscall(SYS_kill, (pid_t)syscall(SYS_getpid), SIGKILL);
    for (;;)
        pause();
}

static int point(const char *call, const char *path, int hungry, int writes)
{
    if (!root_count)
        return GO;
    for (int i = 0; i < root_count; i++) {
        size_t length = strlen(roots[i]);
        if (strncmp(path, roots[i], length) || (path[length] && path[length] != '/'))
            continue;
        int kept = errno, result = GO;
        char line[PATH_MAX + 100];
        pthread_mutex_lock(&lock);
        long number = count++;
        int size = snprintf(line, sizeof line, "%s %d %s\n", call, hungry,
                            path[length] ? path + length + 1 : ".");
        if (syscall(SYS_write, report, line, size) < 0)
            abort();
        if (mode == KILL && number == chosen)
            die();
        if (mode == HALF && number == chosen) {
            if (!writes)
                die();
            result = CUT;
        }
        if (mode == FULL && number >= chosen && hungry)
            result = NO_SPACE;
        pthread_mutex_unlock(&lock);
        errno = result == NO_SPACE ? ENOSPC : kept;
        return result;
    }
    return GO;
}

static int point_at(const char *call, int directory, const char *path, int hungry)
{
    char whole[PATH_MAX * 2 + 2], link[64];
    if (!root_count)
        return GO;
    if (path[0] == '/')
        return point(call, path, hungry, 0);
    ssize_t length = -1;
    if (directory == AT_FDCWD) {
        if (getcwd(whole, PATH_MAX))
            length = strlen(whole);
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
        length = readlink(link, whole, PATH_MAX - 1);
    }
    if (length < 0)
        return GO;
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    return point(call, whole, hungry, 0);
}

static int point_fd(const char *call, int fd, int hungry, int writes)
{
    char path[PATH_MAX], link[64];
    if (!root_count)
        return GO;
    int kept = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = kept;
    if (length < 0)
        return GO;
    path[length] = 0;
    return point(call, path, hungry, writes);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Calls that write bytes: they can be cut in half. */

#define ONE_WRITE(name, PARAMETERS, WHOLE, HALF_OF_IT) \
    ssize_t name PARAMETERS \
    { \
        REAL(name); \
        switch (point_fd(#name, fd, NEEDS_SPACE, 1)) { \
        case NO_SPACE: \
            return -1; \
        case CUT: \
            if (HALF_OF_IT < 0) \
                abort(); \
            die(); \
        } \
        return WHOLE; \
    }

ONE_WRITE(write, (int fd, const void *data, size_t size), real(fd, data, size),
          real(fd, data, size / 2))
ONE_WRITE(pwrite, (int fd, const void *data, size_t size, off_t at), real(fd, data, size, at),
          real(fd, data, size / 2, at))
ONE_WRITE(pwrite64, (int fd, const void *data, size_t size, off64_t at), real(fd, data, size, at),
          real(fd, data, size / 2, at))
ONE_WRITE(writev, (int fd, const struct iovec *parts, int n), real(fd, parts, n),
          real(fd, parts, n / 2))
ONE_WRITE(pwritev, (int fd, const struct iovec *parts, int n, off_t at), real(fd, parts, n, at),
          real(fd, parts, n / 2, at))
ONE_WRITE(pwritev64, (int fd, const struct iovec *parts, int n, off64_t at),
          real(fd, parts, n, at), real(fd, parts, n / 2, at))

/* The others. */

#define CALL(type, name, PARAMETERS, ARGUMENTS, POINT) \
    type name PARAMETERS \
    { \
        REAL(name); \
        return POINT == NO_SPACE ? -1 : real ARGUMENTS; \
    }

#define ON_FD(name, hungry) CALL(int, name, (int fd), (fd), point_fd(#name, fd, hungry, 0))
ON_FD(fsync, NEEDS_SPACE)
ON_FD(fdatasync, NEEDS_SPACE)

static int grows(int fd, off64_t size)
{
    struct stat status;
    return !fstat(fd, &status) && size > status.st_size;
}

CALL(int, ftruncate, (int fd, off_t size), (fd, size),
     point_fd("ftruncate", fd, grows(fd, size), 0))
CALL(int, ftruncate64, (int fd, off64_t size), (fd, size),
     point_fd("ftruncate", fd, grows(fd, size), 0))
CALL(int, fallocate, (int fd, int how, off_t at, off_t size), (fd, how, at, size),
     point_fd("fallocate", fd, NEEDS_SPACE, 0))
CALL(int, fallocate64, (int fd, int how, off64_t at, off64_t size), (fd, how, at, size),
     point_fd("fallocate", fd, NEEDS_SPACE, 0))
CALL(ssize_t, copy_file_range,
     (int in, off64_t *from, int fd, off64_t *to, size_t size, unsigned flags),
     (in, from, fd, to, size, flags), point_fd("copy_file_range", fd, NEEDS_SPACE, 0))
CALL(ssize_t, sendfile, (int fd, int in, off_t *from, size_t size), (fd, in, from, size),
     point_fd("sendfile", fd, NEEDS_SPACE, 0))
CALL(ssize_t, sendfile64, (int fd, int in, off64_t *from, size_t size), (fd, in, from, size),
     point_fd("sendfile", fd, NEEDS_SPACE, 0))
CALL(int, fchmod, (int fd, mode_t bits), (fd, bits), point_fd("fchmod", fd, FREE, 0))
CALL(int, fchown, (int fd, uid_t user, gid_t group), (fd, user, group),
     point_fd("fchown", fd, FREE, 0))
CALL(int, futimens, (int fd, const struct timespec times[2]), (fd, times),
     point_fd("futimens", fd, FREE, 0))

#define AT(path) point_at(__func__, AT_FDCWD, path, FREE)
#define HUNGRY_AT(path) point_at(__func__, AT_FDCWD, path, NEEDS_SPACE)

CALL(int, unlink, (const char *path), (path), AT(path))
CALL(int, unlinkat, (int at, const char *path, int flags), (at, path, flags),
     point_at(__func__, at, path, FREE))
CALL(int, rmdir, (const char *path), (path), AT(path))
CALL(int, rename, (const char *path, const char *to), (path, to), HUNGRY_AT(to))
CALL(int, renameat, (int at, const char *path, int there, const char *to), (at, path, there, to),
     point_at(__func__, there, to, NEEDS_SPACE))
CALL(int, link, (const char *path, const char *to), (path, to), HUNGRY_AT(to))
CALL(int, linkat, (int at, const char *path, int there, const char *to, int flags),
     (at, path, there, to, flags), point_at(__func__, there, to, NEEDS_SPACE))
CALL(int, symlink, (const char *target, const char *path), (target, path), HUNGRY_AT(path))
CALL(int, symlinkat, (const char *target, int at, const char *path), (target, at, path),
     point_at(__func__, at, path, NEEDS_SPACE))
CALL(int, mkdir, (const char *path, mode_t bits), (path, bits), HUNGRY_AT(path))
CALL(int, mkdirat, (int at, const char *path, mode_t bits), (at, path, bits),
     point_at(__func__, at, path, NEEDS_SPACE))
CALL(int, chmod, (const char *path, mode_t bits), (path, bits), AT(path))
CALL(int, chown, (const char *path, uid_t user, gid_t group), (path, user, group), AT(path))
CALL(int, truncate, (const char *path, off_t size), (path, size), AT(path))
CALL(int, truncate64, (const char *path, off64_t size), (path, size), AT(path))

int utimensat(int at, const char *path, const struct timespec times[2], int flags)
{
    REAL(utimensat);
    point_at("utimensat", at, path, FREE);
    return real(at, path, times, flags);
}

/* Opening makes a file, or empties it. */

static int opening(int at, const char *path, int flags)
{
    struct stat status;
    int kept = errno, there = !syscall(SYS_newfstatat, at, path, &status, 0);
    errno = kept;
    if ((flags & O_TMPFILE) == O_TMPFILE || ((flags & O_CREAT) && !there))
        return point_at("create", at, path, NEEDS_SPACE);
    if ((flags & O_TRUNC) && there && status.st_size)
        return point_at("empty", at, path, FREE);
    return GO;
}

#define MODE(last) \
    mode_t bits = 0; \
    if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list more; \
        va_start(more, last); \
        bits = va_arg(more, mode_t); \
        va_end(more); \
    }

#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        MODE(flags) \
        return opening(AT_FDCWD, path, flags) == NO_SPACE ? -1 : real(path, flags, bits); \
    }

#define OPEN_AT(name) \
    int name(int at, const char *path, int flags, ...) \
    { \
        REAL(name); \
        MODE(flags) \
        return opening(at, path, flags) == NO_SPACE ? -1 : real(at, path, flags, bits); \
    }

OPEN(open)
OPEN(open64)
OPEN_AT(openat)
OPEN_AT(openat64)
