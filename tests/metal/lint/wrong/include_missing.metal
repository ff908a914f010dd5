// expect: <metal_stdlib> is not included
kernel void k(device float* x [[buffer(0)]]) { x[0] = 1.0f; }
