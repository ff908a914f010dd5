#include "gpu/cuda/compiler.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "gpu/cuda/nvrtc.h"

namespace metalfaiss::gpu {

namespace {

constexpr const char* kOptions[] = {"--std=c++20", "--device-as-default-execution-space"};

void check_nvrtc(int result, const char* call) {
  if (result != 0) {
    throw std::runtime_error(std::string("[gpu] NVRTC must compile kernels. ") + call + " said " +
                             nvrtcGetErrorString(result) + ".");
  }
}

class Program {
 public:
  Program(const std::string& source, const std::string& name) {
    check_nvrtc(nvrtcCreateProgram(&program_, source.c_str(), (name + ".cu").c_str(), 0, nullptr, nullptr),
                "nvrtcCreateProgram");
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  ~Program() { nvrtcDestroyProgram(&program_); }

  bool compile(const std::vector<const char*>& options) const {
    return nvrtcCompileProgram(program_, static_cast<int>(options.size()), options.data()) == 0;
  }

  std::string log() const { return text(nvrtcGetProgramLogSize, nvrtcGetProgramLog, "nvrtcGetProgramLog"); }
  std::string cubin() const { return text(nvrtcGetCUBINSize, nvrtcGetCUBIN, "nvrtcGetCUBIN"); }
  std::string ptx() const { return text(nvrtcGetPTXSize, nvrtcGetPTX, "nvrtcGetPTX"); }

 private:
  std::string text(int (*size_of)(nvrtcProgram, size_t*), int (*get)(nvrtcProgram, char*), const char* call) const {
    size_t size = 0;
    check_nvrtc(size_of(program_, &size), call);
    std::string out(size, '\0');
    check_nvrtc(get(program_, out.data()), call);
    return out;
  }

  nvrtcProgram program_ = nullptr;
};

}  // namespace

std::string nvrtc_version() {
  int major = 0, minor = 0;
  check_nvrtc(nvrtcVersion(&major, &minor), "nvrtcVersion");
  return std::to_string(major) + "." + std::to_string(minor);
}

std::string architecture(int major, int minor) {
  int count = 0, wanted = 10 * major + minor, below = 0;
  check_nvrtc(nvrtcGetNumSupportedArchs(&count), "nvrtcGetNumSupportedArchs");
  std::vector<int> known(static_cast<size_t>(count));
  check_nvrtc(nvrtcGetSupportedArchs(known.data()), "nvrtcGetSupportedArchs");
  for (int candidate : known) {
    below = candidate <= wanted ? std::max(below, candidate) : below;
  }
  if (below == 0) {
    throw std::runtime_error("[gpu] The GPU must be one that NVRTC " + nvrtc_version() +
                             " compiles for. Its architecture is sm_" + std::to_string(wanted) + ".");
  }
  return (below == wanted ? "sm_" : "compute_") + std::to_string(below);
}

std::string compiler_options() {
  std::string all;
  for (const char* option : kOptions) {
    all += std::string(option) + " ";
  }
  return all;
}

std::string compile(const std::string& source, const std::string& name, const std::string& architecture) {
  std::string target = "--gpu-architecture=" + architecture;
  std::vector<const char*> options(std::begin(kOptions), std::end(kOptions));
  options.push_back(target.c_str());
  Program program(source, name);
  if (!program.compile(options)) {
    throw std::runtime_error("[gpu] NVRTC " + nvrtc_version() + " must compile " + name + " for " + architecture +
                             ". It said:\n" + program.log());
  }
  return architecture.starts_with("sm_") ? program.cubin() : program.ptx();
}

}  // namespace metalfaiss::gpu
