/* Opens, reads and closes every file of the given directories, in the order in which they are
 * listed, and prints how many there were, their bytes, and the seconds it took. A file that can't
 * be read to its end is an error. What a program costs that reads, without the program. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void fail(const char *what)
{
    fprintf(stderr, "readfiles: %s: %s\n", what, strerror(errno));
    exit(1);
}

int main(int count, char **arguments)
{
    static char buffer[128 << 10];
    long files = 0, bytes = 0;
    double start = now();

    for (int i = 1; i < count; i++) {
        DIR *directory = opendir(arguments[i]);
        if (!directory)
            fail(arguments[i]);
        struct dirent *entry;
        while ((entry = readdir(directory))) {
            if (entry->d_type == DT_DIR)
                continue;
            int file = openat(dirfd(directory), entry->d_name, O_RDONLY);
            if (file < 0)
                fail(entry->d_name);
            ssize_t got;
            while ((got = read(file, buffer, sizeof buffer)) > 0)
                bytes += got;
            if (got < 0)
                fail(entry->d_name);
            close(file);
            files++;
        }
        closedir(directory);
    }
    printf("%ld %ld %.9f\n", files, bytes, now() - start);
    return 0;
}
