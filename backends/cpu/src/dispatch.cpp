#include "dispatch.h"

#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#if defined(HALFLAP_HAVE_AMX)
#include <cpuid.h>
#endif

#if defined(HALFLAP_HAVE_ARM)
#include <sys/auxv.h>
#endif

#include "error.h"

namespace halflap::cpu {

namespace portable {
const Kernels &kernels();
}
#if defined(HALFLAP_HAVE_X86)
namespace avx2 {
const Kernels &kernels();
}
#if defined(HALFLAP_HAVE_AVXVNNI)
namespace avx2vnni {
const Kernels &kernels();
}
#endif
namespace avx512 {
const Kernels &kernels();
}
namespace avx512vnni {
const Kernels &kernels();
}
#if defined(HALFLAP_HAVE_AMX)
namespace amx {
const Kernels &kernels();
}
#endif
#endif
#if defined(HALFLAP_HAVE_ARM)
namespace neon {
const Kernels &kernels();
}
namespace neondot {
const Kernels &kernels();
}
namespace i8mm {
const Kernels &kernels();
}
#endif

namespace {

#if defined(HALFLAP_HAVE_X86)
bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool has_avx512vnni() {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi");
}
#endif

#if defined(HALFLAP_HAVE_AMX)
// Tiles are 8 KB of state that the system saves only for processes that ask.
bool has_amx() {
  unsigned a, b, c, d;
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d & kBf16) && (d & kTile) && (d & kInt8) && has_avx512vnni() &&
         __builtin_cpu_supports("avx512bf16") &&
         syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#endif

struct Set {
  const char *name;
  const Kernels &(*kernels)();
  bool (*runs)();
};

// Best first.
constexpr Set kSets[] = {
#if defined(HALFLAP_HAVE_X86)
#if defined(HALFLAP_HAVE_AMX)
    {"amx", amx::kernels, has_amx},
#endif
    {"avx512vnni", avx512vnni::kernels, has_avx512vnni},
    {"avx512", avx512::kernels,
     [] {
       return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
              __builtin_cpu_supports("avx512vl");
     }},
#if defined(HALFLAP_HAVE_AVXVNNI)
    {"avx2vnni", avx2vnni::kernels, [] { return has_avx2() && __builtin_cpu_supports("avxvnni"); }},
#endif
    {"avx2", avx2::kernels, has_avx2},
#endif
#if defined(HALFLAP_HAVE_ARM)
    {"i8mm", i8mm::kernels, [] { return (getauxval(AT_HWCAP2) & HWCAP2_I8MM) != 0; }},
    {"neondot", neondot::kernels, [] { return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0; }},
    {"neon", neon::kernels, [] { return true; }},
#endif
    {"portable", portable::kernels, [] { return true; }},
};

std::string read_cpuinfo(const char *key) {
  std::string found;
  if (FILE *file = fopen("/proc/cpuinfo", "r")) {
    char line[512];
    while (found.empty() && fgets(line, sizeof line, file)) {
      const char *colon = strchr(line, ':');
      if (strncmp(line, key, strlen(key)) == 0 && colon && colon[1]) found = colon + 2;
    }
    fclose(file);
  }
  while (!found.empty() && (found.back() == '\n' || found.back() == ' ')) found.pop_back();
  return found;
}

}  // namespace

const Kernels &choose_kernels() {
  const char *wanted = getenv("HALFLAP_CPU_ISA");
  for (const Set &set : kSets) {
    if (wanted && *wanted) {
      if (strcmp(wanted, set.name) != 0) continue;
      if (!set.runs()) fail(HL_UNSUPPORTED, "HALFLAP_CPU_ISA: got '%s', want a set that this processor has", set.name);
      return set.kernels();
    }
    if (set.runs()) return set.kernels();
  }
  std::string names;
  for (const Set &set : kSets) names += (names.empty() ? "" : ", ") + std::string(set.name);
  fail(HL_UNSUPPORTED, "HALFLAP_CPU_ISA: got '%.50s', want one of %s", wanted, names.c_str());
}

const char *processor_name() {
  static const std::string name = [] {
    const std::string found = read_cpuinfo("model name");
    return found.empty() ? std::string("CPU") : found;
  }();
  return name.c_str();
}

int physical_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed)) return 1;
  std::set<std::string> cores;  // first listed sibling of each
  for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    const std::string path = "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/topology/thread_siblings_list";
    char line[128] = "";
    if (FILE *file = fopen(path.c_str(), "r")) {
      if (!fgets(line, sizeof line, file)) line[0] = 0;
      fclose(file);
    }
    cores.insert(line[0] ? std::string(line) : std::to_string(cpu));
  }
  return cores.empty() ? 1 : static_cast<int>(cores.size());
}

}  // namespace halflap::cpu
