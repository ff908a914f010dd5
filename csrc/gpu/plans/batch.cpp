#include "gpu/plans/batch.h"

#include <algorithm>

namespace metalfaiss::gpu {

int64_t Batch::size() const {
  int64_t n = 1;
  for (int64_t dim : shape) {
    n *= dim;
  }
  return n;
}

Batch Batch::collapsed() const {
  Batch out;
  for (size_t i = 0; i < shape.size(); i++) {
    if (shape[i] == 1) {
      continue;
    }
    bool merges = !out.shape.empty() && out.a_strides.back() == shape[i] * a_strides[i] &&
                  out.b_strides.back() == shape[i] * b_strides[i];
    if (merges) {
      out.shape.back() *= shape[i];
      out.a_strides.back() = a_strides[i];
      out.b_strides.back() = b_strides[i];
    } else {
      out.shape.push_back(shape[i]);
      out.a_strides.push_back(a_strides[i]);
      out.b_strides.push_back(b_strides[i]);
    }
  }
  return out;
}

std::vector<BatchPart> parts_of(const Batch& batch, int64_t most) {
  Batch b = batch.collapsed();
  // The innermost dimensions whose product a launch can take, and a piece of the next one.
  size_t inner = b.shape.size();
  int64_t size = 1, piece = 1;
  while (inner > 0 && b.shape.size() - inner + 1 < BATCH_DIMS && size * b.shape[inner - 1] <= most) {
    size *= b.shape[--inner];
  }
  size_t outer = inner;
  if (inner > 0) {
    outer = inner - 1;
    piece = std::max<int64_t>(1, std::min(b.shape[outer], most / size));
  }
  BatchPart part{};
  int slot = BATCH_DIMS;
  for (size_t i = b.shape.size(); i-- > outer;) {
    slot--;
    part.params.shape[slot] = static_cast<int32_t>(b.shape[i]);
    part.params.a_stride[slot] = b.a_strides[i];
    part.params.b_stride[slot] = b.b_strides[i];
  }
  int pieced = outer < inner ? slot : -1;
  while (slot > 0) {
    part.params.shape[--slot] = 1;
  }
  int64_t outermost = 1;
  for (size_t i = 0; i < outer; i++) {
    outermost *= b.shape[i];
  }
  std::vector<BatchPart> parts;
  int64_t first = 0;
  for (int64_t o = 0; o < outermost; o++) {
    int64_t rest = o, a = 0, bo = 0;
    for (size_t i = outer; i-- > 0;) {
      a += rest % b.shape[i] * b.a_strides[i];
      bo += rest % b.shape[i] * b.b_strides[i];
      rest /= b.shape[i];
    }
    int64_t dim = pieced >= 0 ? b.shape[outer] : 1;
    for (int64_t at = 0; at < dim; at += piece) {
      int64_t n = std::min(piece, dim - at);
      part.params.a_offset = a + (pieced >= 0 ? at * b.a_strides[outer] : 0);
      part.params.b_offset = bo + (pieced >= 0 ? at * b.b_strides[outer] : 0);
      if (pieced >= 0) {
        part.params.shape[pieced] = static_cast<int32_t>(n);
      }
      part.first = first;
      part.count = n * size;
      parts.push_back(part);
      first += part.count;
    }
  }
  return parts;
}

}  // namespace metalfaiss::gpu
