// LD_PRELOAD: fsync and fdatasync fail with EIO while the file named by FSYNC_FAILS_WHILE exists.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

static int refused(void) {
  const char *switch_file = getenv("FSYNC_FAILS_WHILE");
  return switch_file && access(switch_file, F_OK) == 0;
}

static int call(const char *name, int fd) {
  if (refused()) {
    errno = EIO;
    return -1;
  }
  int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
  return real(fd);
}

int fsync(int fd) { return call("fsync", fd); }
int fdatasync(int fd) { return call("fdatasync", fd); }
