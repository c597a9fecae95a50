#include "processor.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace anchorage {
namespace {

bool hasVnni() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512vnni");
}

// Linux gives a process its tiles when it asks for them (arch_prctl(2), ARCH_REQ_XCOMP_PERM), from 5.16 on.
bool mayUseTiles() {
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023;
  constexpr int XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

bool hasAmx() {
  unsigned a, b, c, d;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return false;
  const bool tiles = d & (1u << 24), int8 = d & (1u << 25), bfloat16 = d & (1u << 22);
  if (!__get_cpuid_count(7, 1, &a, &b, &c, &d)) return false;
  const bool converts = a & (1u << 5);  // AVX512_BF16
  return tiles && int8 && bfloat16 && converts && mayUseTiles();
}

}  // namespace

Instructions bestInstructions() {
  if (!hasVnni()) return Instructions::none;
  return hasAmx() ? Instructions::amx : Instructions::vnni;
}

}  // namespace anchorage
