// What was found, each kind once per place in the code.
#include <cstring>

#include "state.h"

namespace sim {

Finding* find(What what, uint64_t pc) {
  for (int i = 0; i < g.finding_count; i++) {
    if (g.findings[i].what == what && g.findings[i].pc == pc) {
      return nullptr;
    }
  }
  if (g.finding_count == kMaxFindings) {
    return nullptr;
  }
  Finding& f = g.findings[g.finding_count++];
  f = Finding{};
  f.what = what;
  f.pc = pc;
  f.other_thread = -1;
  std::memcpy(f.group, g.thread.group, sizeof(f.group));
  f.thread = g.fiber ? g.fiber->thread : -1;
  return &f;
}

int thread_of(Who who) {
  who &= 0x7fff;
  if (who == kManyThreads || (who & 63) == kSeveral) {
    return -3;
  }
  return (who & 63) == kCollective ? -2 : simdgroup_of(who) * kLanes + (who & 63);
}

}  // namespace sim

// What was found since the last call.
SIM_API int sim_findings(const sim::Finding** out) {
  int n = sim::g.finding_count;
  *out = sim::g.findings;
  sim::g.finding_count = 0;
  return n;
}
