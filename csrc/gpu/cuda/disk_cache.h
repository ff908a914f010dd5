// Files that spare work the next process would do again. Any number of processes may read and write at once.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace metalfaiss::gpu {

class DiskCache {
 public:
  // An empty folder name: nothing is kept.
  explicit DiskCache(std::filesystem::path folder) : folder_(std::move(folder)) {}

  const std::filesystem::path& folder() const { return folder_; }

  // What was stored under the key; nullopt where nothing was, or where the file is damaged.
  std::optional<std::string> load(std::string_view key) const;

  // Replaces what was stored under the key, at once for every reader. Where the folder cannot be written, it does
  // nothing: the next process works again.
  void store(std::string_view key, std::string_view value) const;

  // metalfaiss in $XDG_CACHE_HOME or in ~/.cache. Empty where there is neither.
  static std::filesystem::path user_folder();

 private:
  std::filesystem::path file(std::string_view key) const;

  std::filesystem::path folder_;
};

}  // namespace metalfaiss::gpu
