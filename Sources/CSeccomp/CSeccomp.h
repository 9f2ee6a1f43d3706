// System-call filters (libseccomp). Its rules are added by variadic functions or arrays; Swift uses the arrays.
#include <seccomp.h>
// Numbers of system calls that Swift's Glibc module lacks.
#include <sys/syscall.h>
