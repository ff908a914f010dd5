// What is used of NVRTC, as CUDA's documentation declares it: its header comes with a package of 100 MB. libmlx brings
// the library itself.
#pragma once

#include <cstddef>

extern "C" {
typedef struct _nvrtcProgram* nvrtcProgram;

// Results are nvrtcResult, an int; 0 is success.
const char* nvrtcGetErrorString(int result);
int nvrtcVersion(int* major, int* minor);
int nvrtcGetNumSupportedArchs(int* count);
int nvrtcGetSupportedArchs(int* architectures);
int nvrtcCreateProgram(nvrtcProgram* program, const char* source, const char* name, int headers,
                       const char* const* header_sources, const char* const* header_names);
int nvrtcDestroyProgram(nvrtcProgram* program);
int nvrtcCompileProgram(nvrtcProgram program, int count, const char* const* options);
int nvrtcGetCUBINSize(nvrtcProgram program, size_t* size);
int nvrtcGetCUBIN(nvrtcProgram program, char* out);
int nvrtcGetPTXSize(nvrtcProgram program, size_t* size);
int nvrtcGetPTX(nvrtcProgram program, char* out);
int nvrtcGetProgramLogSize(nvrtcProgram program, size_t* size);
int nvrtcGetProgramLog(nvrtcProgram program, char* out);
}
