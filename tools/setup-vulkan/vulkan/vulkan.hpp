// Found in place of <vulkan/vulkan.hpp> where ggml's Vulkan back end is built by tools/setup. Headers
// before 1.3.275, Debian 12's 1.3.239 among them, lack three names of VK_EXT_layer_settings, which ggml
// uses whether or not it switches a layer on. Loaders that do not know the structure skip it.
#pragma once

#include_next <vulkan/vulkan.hpp>

#ifndef VK_EXT_layer_settings
#include <cstdint>
#include <vector>

namespace vk {

enum class LayerSettingTypeEXT : uint32_t { eBool32 = 0 };

struct LayerSettingEXT {
    const char *layer_name;
    const char *setting_name;
    LayerSettingTypeEXT type;
    uint32_t n_values;
    const void *values;
};

struct LayerSettingsCreateInfoEXT {
    // VK_STRUCTURE_TYPE_LAYER_SETTINGS_CREATE_INFO_EXT
    uint32_t type = 1000496000;
    const void *next = nullptr;
    uint32_t n_settings;
    const LayerSettingEXT *settings;

    explicit LayerSettingsCreateInfoEXT(const std::vector<LayerSettingEXT> &all)
        : n_settings(static_cast<uint32_t>(all.size())), settings(all.data()) {}
};

}  // namespace vk
#endif
