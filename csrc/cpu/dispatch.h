// Which SIMD level runs, and how a kernel gets one entry point per level.
#pragma once

namespace metalfaiss::cpu {

enum class SimdLevel { portable, avx2, avx512, neon };

const char* simd_level_name(SimdLevel level);

// The best level of this build that this machine can run.
SimdLevel best_simd_level();

// The level in use, process-wide: best_simd_level() until set_simd_level() says otherwise.
SimdLevel simd_level();

// True if this build has the level and this machine can run it.
bool simd_level_supported(SimdLevel level);

// Requires simd_level_supported(level). Operations already running keep the level they started with.
void set_simd_level(SimdLevel level);

}  // namespace metalfaiss::cpu

#if defined(__x86_64__)
#define METALFAISS_DECLARE_LEVELS(name, Args) \
  namespace portable {                        \
  void name(const Args&);                     \
  }                                           \
  namespace avx2 {                            \
  void name(const Args&);                     \
  }                                           \
  namespace avx512 {                          \
  void name(const Args&);                     \
  }
#define METALFAISS_DISPATCH_LEVELS(name, args) \
  switch (simd_level()) {                      \
    case SimdLevel::avx512:                    \
      return avx512::name(args);               \
    case SimdLevel::avx2:                      \
      return avx2::name(args);                 \
    default:                                   \
      return portable::name(args);             \
  }
#elif defined(__aarch64__)
#define METALFAISS_DECLARE_LEVELS(name, Args) \
  namespace portable {                        \
  void name(const Args&);                     \
  }                                           \
  namespace neon {                            \
  void name(const Args&);                     \
  }
#define METALFAISS_DISPATCH_LEVELS(name, args) \
  if (simd_level() == SimdLevel::neon) {       \
    return neon::name(args);                   \
  }                                            \
  return portable::name(args);
#else
#define METALFAISS_DECLARE_LEVELS(name, Args) \
  namespace portable {                        \
  void name(const Args&);                     \
  }
#define METALFAISS_DISPATCH_LEVELS(name, args) return portable::name(args);
#endif

// Declares kernel `void name(const Args&)`: one definition per level, in that level's namespace (the kernel's .cpp,
// compiled once per level), and the function of that name that picks the level in use.
#define METALFAISS_KERNEL(name, Args)      \
  METALFAISS_DECLARE_LEVELS(name, Args)    \
  inline void name(const Args& args) {     \
    METALFAISS_DISPATCH_LEVELS(name, args) \
  }
