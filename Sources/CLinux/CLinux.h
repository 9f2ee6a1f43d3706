/* Linux calls that Swift's Glibc module does not show: prctl is variadic. */
#ifndef CLINUX_H
#define CLINUX_H
#include <sys/prctl.h>

/* No program that this process starts can gain privileges. 0 on success. */
static inline int linux_no_new_privileges(void) { return prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); }
/* The name that ps and top show for the calling thread; at most 15 bytes. */
static inline int linux_name_thread(const char *name) { return prctl(PR_SET_NAME, (unsigned long)name, 0UL, 0UL, 0UL); }
#endif
