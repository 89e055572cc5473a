// What this machine can do, as `mtab.machine` and `mtab.cuda`.
#pragma once

#include <string>

#include "files.hpp"

namespace mtab_core {

// Whether sums of products of uint8 and int8 saturate, as they do on an x86 processor without VNNI.
bool saturates_int8(const Path& root = "/");

// A hash of the processor's model and of all that it can do: what is compiled for one is for no other.
std::string processor_key(const Path& root = "/");

// The logical cores that this process may keep busy, by its affinity and its container's CPU quota, where
// these are fewer than the machine has; 0 where it may use them all.
int limited_cores(const Path& root = "/");

// NVIDIA's GPUs that the driver shows to this process; 0 without a driver.
int cuda_gpus();

}  // namespace mtab_core
