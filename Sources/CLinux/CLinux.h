// Functions of the C library that its headers show only with _GNU_SOURCE, which Swift's Glibc module is built without,
// and prctl, which is variadic and so unknown to Swift.
#ifndef CLINUX_H
#define CLINUX_H
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/types.h>
int fallocate(int descriptor, int mode, off_t offset, off_t length);
int sync_file_range(int descriptor, off_t offset, off_t length, unsigned int flags);
ssize_t copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length, unsigned int flags);

// No program that this process starts can gain privileges. 0 on success.
static inline int linux_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); }
// The name that ps and top show for the calling thread; at most 15 bytes.
static inline int linux_name_thread(const char *name) { return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL); }
// The signal that this process gets when the thread that started it ends.
static inline int linux_signal_at_parent_death(int number) { return prctl(PR_SET_PDEATHSIG, (unsigned long)number, 0UL, 0UL, 0UL); }

// Makes `length` bytes of `out` share the disk blocks of `in` (ioctl_ficlonerange(2)). 0 on success, else -1 and errno.
static inline int linux_share_range(int out, unsigned long long out_offset, int in, unsigned long long in_offset,
                                    unsigned long long length) {
    struct file_clone_range range = {in, in_offset, length, out_offset};
    return ioctl(out, FICLONERANGE, &range);
}

// Has a new, empty file overwritten in place on file systems that otherwise copy on write (ioctl_iflags(2)). 0 on success.
static inline int linux_set_no_copy_on_write(int descriptor) {
    int flags = 0;
    if (ioctl(descriptor, FS_IOC_GETFLAGS, &flags) != 0) return -1;
    flags |= FS_NOCOW_FL;
    return ioctl(descriptor, FS_IOC_SETFLAGS, &flags);
}

// The unit in bytes in which XFS sets space aside for an empty file (ioctl_fsxattr: FS_XFLAG_EXTSIZE). 0 on success, else
// -1 and errno.
static inline int linux_set_extent_size_hint(int descriptor, unsigned int bytes) {
    struct fsxattr attributes;
    if (ioctl(descriptor, FS_IOC_FSGETXATTR, &attributes) != 0) return -1;
    attributes.fsx_xflags |= FS_XFLAG_EXTSIZE;
    attributes.fsx_extsize = bytes;
    return ioctl(descriptor, FS_IOC_FSSETXATTR, &attributes);
}
#endif
