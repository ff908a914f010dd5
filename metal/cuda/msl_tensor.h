// What metal/include/half_tile.h describes, by instructions of NVIDIA's.
#pragma once

#include "msl_simd.h"

namespace metal {

MSL_FN uint shared_address(const void* x) {
  return uint(__cvta_generic_to_shared(x));
}

// Four tiles of 8 rows of 8 elements: lane l has the address of row l % 8 of tile l / 8.
MSL_FN void load_tiles(const half* x, uint* words) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared_address(x))
               : "memory");
}

MSL_FN void load_tiles_turned(const half* x, uint* words) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(shared_address(x))
               : "memory");
}

MSL_FN void multiply_tiles(float* c, const uint* a, const uint* b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

MSL_FN void copy_async(uint4* to, const uint4* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" : : "r"(shared_address(to)), "l"(from) : "memory");
}

// Of this thread's copies; a barrier then shows them to others.
MSL_FN void await_copies() {
  asm volatile("cp.async.commit_group;\n cp.async.wait_group 0;" : : : "memory");
}

MSL_FN uint pack_halves(float low, float high) {
  uint word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

}  // namespace metal
