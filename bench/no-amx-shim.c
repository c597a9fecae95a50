/* A processor without AMX, as far as this process can see: preloaded (LD_PRELOAD), it refuses the permission that Linux asks programs to
 * get first (arch_prctl's ARCH_GET_XCOMP_SUPP to ARCH_REQ_XCOMP_GUEST_PERM), and both engines then do without. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <sys/syscall.h>

#define FIRST_XCOMP 0x1021
#define LAST_XCOMP 0x1025

long syscall(long number, ...) {
  static long (*real)(long, ...);
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) arguments[i] = va_arg(list, long);
  va_end(list);
  if (number == SYS_arch_prctl && arguments[0] >= FIRST_XCOMP && arguments[0] <= LAST_XCOMP) {
    errno = EINVAL;
    return -1;
  }
  if (!real) real = dlsym(RTLD_NEXT, "syscall");
  return real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
}
