# ctest reads this before its tests, which have its environment: whatever back ends for GPUs lie beside ggml, they find
# no device. (An empty value would leave the variable unset; neither of these is a device's number.)
set(ENV{CUDA_VISIBLE_DEVICES} -1)
set(ENV{GGML_VK_VISIBLE_DEVICES} none)
