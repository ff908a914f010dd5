// Arithmetic in pairs of float32, with about 48 bits: what a GPU without float64 needs to decide between distances.
// Error-free sums and products as in Knuth and Dekker, dot products as in Ogita, Rump and Oishi, "Accurate sum and dot
// product", SIAM J. Sci. Comput. 26 (2005). Compilers must neither reassociate nor contract these expressions.
#pragma once

// hi + lo; normalised where hi is the sum rounded to float32.
struct DoubleFloat {
  float hi, lo;
};

// a + b exactly.
inline DoubleFloat two_sum(float a, float b) {
  DoubleFloat r;
  r.hi = a + b;
  float b_part = r.hi - a;
  float a_part = r.hi - b_part;
  r.lo = (a - a_part) + (b - b_part);
  return r;
}

// a + b exactly where |a| >= |b| or a is 0.
inline DoubleFloat fast_two_sum(float a, float b) {
  DoubleFloat r;
  r.hi = a + b;
  r.lo = b - (r.hi - a);
  return r;
}

// a b exactly, unless it underflows. The product is an fma too: no compiler may fuse it with the sum that uses it.
inline DoubleFloat two_product(float a, float b) {
  DoubleFloat r;
  r.hi = fma(a, b, -0.0f);
  r.lo = fma(a, b, -r.hi);
  return r;
}

// (x.hi + x.lo)^2 but for 2^-48 of it.
inline DoubleFloat square(DoubleFloat x) {
  DoubleFloat r = two_product(x.hi, x.hi);
  r.lo = fma(2.0f * x.hi, x.lo, r.lo);
  return r;
}

// sum + x, in which the low part collects the errors and may overlap the high one: normalise the last sum.
inline DoubleFloat accumulate(DoubleFloat sum, DoubleFloat x) {
  DoubleFloat r = two_sum(sum.hi, x.hi);
  r.lo = sum.lo + (r.lo + x.lo);
  return r;
}

inline DoubleFloat normalised(DoubleFloat x) {
  return fast_two_sum(x.hi, x.lo);
}

// The same on every lane: sums are symmetric in their operands, bit for bit.
inline DoubleFloat simd_total(DoubleFloat x) {
  DoubleFloat sum = x;
  for (uint distance = 16u; distance > 0u; distance /= 2u) {
    DoubleFloat other;
    other.hi = simd_shuffle_xor(sum.hi, ushort(distance));
    other.lo = simd_shuffle_xor(sum.lo, ushort(distance));
    sum = accumulate(sum, other);
  }
  return normalised(normalised(sum));
}
