// Functions of the C library that its headers show only with _GNU_SOURCE, which Swift's Glibc module is built without.
#include <sys/types.h>
int fallocate(int descriptor, int mode, off_t offset, off_t length);
ssize_t copy_file_range(int in, off_t *in_offset, int out, off_t *out_offset, size_t length, unsigned int flags);
