// What the tests of launch plans share: looking into steps, and what holds for every one of them.
#pragma once

#include <cstring>
#include <set>
#include <string>
#include <utility>

#include "check.h"
#include "gpu/launch.h"

namespace metalfaiss::gpu {

using metalfaiss::cpu::failures;
using metalfaiss::cpu::simd_level;
using metalfaiss::cpu::simd_level_name;

template <typename Params>
Params params_of(const Launch& launch) {
  Params params{};
  const auto& bytes = std::get<Bytes>(launch.arguments.back());
  CHECK(bytes.size() == sizeof(Params));
  std::memcpy(&params, bytes.data(), std::min(sizeof(Params), bytes.size()));
  return params;
}

inline std::string constant_of(const Launch& launch, const std::string& name) {
  for (const Constant& constant : launch.constants) {
    if (constant.name == name) {
      return constant.value;
    }
  }
  return "";
}

inline std::vector<Launch> launches_of(const Plan& plan, const std::string& kernel) {
  std::vector<Launch> found;
  for (const Step& step : plan.steps) {
    if (auto* launch = std::get_if<Launch>(&step); launch && launch->kernel == kernel) {
      found.push_back(*launch);
    }
  }
  return found;
}

using Place = std::pair<Memory::Kind, int>;

inline Place place_of(const Memory& memory) {
  return {memory.kind, memory.index};
}

inline void check_launch(const Plan& plan, const Launch& launch, std::set<Place>& written) {
  for (int64_t n : {launch.groups.x, launch.groups.y, launch.groups.z}) {
    CHECK(n > 0 && n < (int64_t{1} << 31));
  }
  CHECK(launch.groups.y <= 65535 && launch.groups.z <= 65535);
  CHECK(launch.threads.x * launch.threads.y * launch.threads.z <= 1024);
  CHECK(std::holds_alternative<Bytes>(launch.arguments.back()));
  std::set<Place> bound, writes;
  for (size_t i = 0; i + 1 < launch.arguments.size(); i++) {
    if (std::holds_alternative<Bytes>(launch.arguments[i])) {
      continue;
    }
    const auto& buffer = std::get<Buffer>(launch.arguments[i]);
    Place place = place_of(buffer.memory);
    CHECK(place.first != Memory::Kind::scratch || plan.scratch.at(place.second) > 0);
    if (buffer.access == Access::read) {
      CHECK(!writes.count(place));
    } else {
      CHECK(place.first != Memory::Kind::input);
      CHECK(bound.insert(place).second);
      writes.insert(place);
    }
    bound.insert(place);
  }
  written.insert(writes.begin(), writes.end());
}

// Every launch fits a GPU and writes to memory that it binds once; every product reads what was written.
inline void check_plan(const Plan& plan) {
  std::set<Place> written;
  for (const Step& step : plan.steps) {
    if (auto* launch = std::get_if<Launch>(&step)) {
      check_launch(plan, *launch, written);
    } else {
      const auto& product = std::get<Product>(step);
      CHECK(product.m > 0 && product.n > 0 && product.k > 0);
      for (const Memory& memory : {product.a, product.b}) {
        CHECK(memory.kind == Memory::Kind::input || written.count(place_of(memory)));
      }
      CHECK(product.out.kind == Memory::Kind::scratch);
      CHECK(plan.scratch.at(product.out.index) >= 4 * product.m * product.n);
      written.insert(place_of(product.out));
    }
  }
}

inline int64_t scratch_bytes(const Plan& plan) {
  int64_t sum = 0;
  for (int64_t bytes : plan.scratch) {
    sum += bytes;
  }
  return sum;
}

}  // namespace metalfaiss::gpu
