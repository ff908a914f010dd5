// MLX's CUDA headers name {fmt} in the text of one error, and MLX's wheels do not bring it.
#pragma once

#include <string>

namespace fmt {

template <typename... Parts>
std::string format(const char* text, const Parts&...) {
  return text;
}

}  // namespace fmt
