/* Lets a FUSE server work without open files. When `open` has answered ENOSYS once, the kernel opens
 * and closes files by itself, and its requests to read come with the handle 0: pyfuse3 passes on
 * only that handle, and not the inode. So this puts the inode into the handle.
 *
 * It stands before libfuse's function of the same name: loaded for all (RTLD_GLOBAL) before pyfuse3
 * is, it is the one that pyfuse3 finds, with every request. libfuse's own is taken from among the
 * libraries that the caller was linked with, for there may be more than one libfuse in a process. */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 31
#include <dlfcn.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdlib.h>

typedef void process(struct fuse_session *, const struct fuse_buf *);

/* Whether requests come through here. The first one, INIT, is before any other. */
int timefs_handleless = 0;

void fuse_session_process_buf(struct fuse_session *session, const struct fuse_buf *buffer)
{
    static process *real;
    if (!real) {
        Dl_info caller = {0};
        dladdr(__builtin_return_address(0), &caller);
        void *library = dlopen(caller.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
        real = library ? (process *)dlsym(library, "fuse_session_process_buf") : NULL;
        if (!real)
            abort(); /* a libfuse without what its user was linked against */
        timefs_handleless = 1;
    }
    struct fuse_in_header *head = buffer->mem;
    struct fuse_read_in *asked = (void *)(head + 1);
    if (!(buffer->flags & FUSE_BUF_IS_FD) && head->opcode == FUSE_READ && !asked->fh &&
        buffer->size >= sizeof *head + sizeof *asked)
        asked->fh = head->nodeid;
    real(session, buffer);
}
