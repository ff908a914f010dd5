// Inverted lists that show those of others: stacked, in part, or in place of others.
#pragma once

#include <mutex>
#include <vector>

#include "index/inverted_lists.h"

namespace metalfaiss::index {

// List i of each kind, of parts il0, il1, ...
enum class ListsViewKind {
  hstack,      // lists i of all parts, one behind the other
  vstack,      // list i of all lists of all parts
  slice,       // list first + i of il0, for first + i < last
  masked,      // list i of il0, or of il1 where that is empty
  stop_words,  // list i of il0, or nothing where it has `last` entries or more
  capped,      // the first `last` entries of list i of il0
};

class ListsView {
 public:
  ListsView(ListsViewKind kind, int64_t first, int64_t last) : kind_(kind), first_(first), last_(last) {}

  // What is seen of the parts as they are now, at least one. Nothing is copied, but of an hstack lists that more than
  // one part has entries of. What was seen last is kept until a part changes.
  std::shared_ptr<InvertedLists> of(const std::vector<const InvertedLists*>& parts);

 private:
  using Snapshots = std::vector<InvertedLists::Snapshot>;

  std::vector<InvertedList> seen(const Snapshots& parts, int64_t code_size) const;

  ListsViewKind kind_;
  int64_t first_, last_;
  std::mutex mutex_;
  Snapshots parts_;  // as they were; holding them, they cannot change in place
  std::shared_ptr<InvertedLists> seen_;
};

}  // namespace metalfaiss::index
