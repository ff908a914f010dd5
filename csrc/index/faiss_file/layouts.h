// The table behind find_layout.
#pragma once

namespace metalfaiss::faiss_file {

struct LayoutText {
  const char* fourccs;  // separated by spaces; the name of a group
  char domain;          // i index, b binary, t transform, l lists, g group
  const char* class_name;
  const char* words;
};

extern const LayoutText kLayouts[];
extern const int kNumLayouts;

}  // namespace metalfaiss::faiss_file
