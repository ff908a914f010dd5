// expect: include "tile.h".*a kernel may include
#include <metal_stdlib>
using namespace metal;

#include "tile.h"  // <-
kernel void k(device float* x [[buffer(0)]]) { x[0] = 1.0f; }
