// Functions of the C library that its headers show only with _GNU_SOURCE, which Swift's Glibc module is built without,
// and prctl, which is variadic and so unknown to Swift.
#ifndef CLINUX_H
#define CLINUX_H
#include <errno.h>
#include <linux/fs.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
long syscall(long number, ...);
int clearenv(void);
unsigned long getauxval(unsigned long type);
int fallocate(int descriptor, int mode, off_t offset, off_t length);
int sync_file_range(int descriptor, off_t offset, off_t length, unsigned int flags);
int memfd_create(const char *name, unsigned int flags);
ssize_t copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length, unsigned int flags);

// No program that this process starts can gain privileges. 0 on success.
static inline int linux_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); }
// The name that ps and top show for the calling thread; at most 15 bytes.
static inline int linux_name_thread(const char *name) { return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL); }
// Fills `name`, 16 bytes, with the calling thread's name. 0 on success.
static inline int linux_thread_name(char *name) { return prctl(PR_GET_NAME, (unsigned long)name, 0UL, 0UL, 0UL); }
// The signal that this process gets when the thread that started it ends.
static inline int linux_signal_at_parent_death(int number) { return prctl(PR_SET_PDEATHSIG, (unsigned long)number, 0UL, 0UL, 0UL); }

// Moves a mapping over another one of its size, as mremap does with MREMAP_MAYMOVE and MREMAP_FIXED. 0 on success.
static inline int linux_move_mapping(void *from, size_t length, void *to) {
    return syscall(SYS_mremap, from, length, length, 3UL, to) == (long)to ? 0 : -1;
}

// No core dump, no debugger of the same user, /proc/PID owned by root. 0 on success.
static inline int linux_not_dumpable(void) { return prctl(PR_SET_DUMPABLE, 0UL, 0UL, 0UL, 0UL); }

// Landlock (landlock(7)). The structure is that of ABI 6; older kernels take the part of it that they know.
struct linux_landlock_ruleset { unsigned long long access_fs, access_net, scoped; };
// Any system call.
static inline long linux_call(long number, long a, long b, long c, long d, long e, long f) {
    return syscall(number, a, b, c, d, e, f);
}

// The ABI's number, or -1.
static inline int linux_landlock_abi(void) { return (int)syscall(444L, (void *)0, (size_t)0, 1U); }
// A descriptor, or -1.
static inline int linux_landlock_create(const struct linux_landlock_ruleset *rules, size_t size) {
    return (int)syscall(444L, rules, size, 0U);
}
// 0 on success.
static inline int linux_landlock_restrict(int ruleset) { return (int)syscall(446L, ruleset, 0U); }

// Reads from a socket like recv(2), and takes at most 8 descriptors that come along; `*count` says how many, all of them
// close-on-exec. Descriptors beyond those are closed by the system.
static inline ssize_t linux_receive(int socket, void *bytes, size_t length, int *descriptors, int *count) {
    char control[CMSG_SPACE(8 * sizeof(int))];
    struct iovec part = {bytes, length};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    *count = 0;
    ssize_t got = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    if (got < 0) return got;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        size_t all = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < all && *count < 8; i++) {
            memcpy(&descriptors[*count], CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            ++*count;
        }
    }
    return got;
}

// Writes to a socket like send(2), with a descriptor that goes along.
static inline ssize_t linux_send_descriptor(int socket, const void *bytes, size_t length, int descriptor) {
    char control[CMSG_SPACE(sizeof(int))];
    memset(control, 0, sizeof control);
    struct iovec part = {(void *)bytes, length};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}

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
