// expect: `(odd|even)` calls itself
#include <metal_stdlib>
using namespace metal;

int odd(int n);
inline int even(int n) { return n == 0 ? 1 : odd(n - 1); }  // <-
inline int odd(int n) { return n == 0 ? 0 : even(n - 1); }  // <-
kernel void k(device int* x [[buffer(0)]]) { x[0] = even(x[1]); }
