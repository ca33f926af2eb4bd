#include "cli/sampler_options.h"

namespace orthorank {

void add_sampler_options(CLI::App &command, SamplerOptions &sampler) {
    command.add_option("--temp", sampler.temperature, "temperature (0: the likeliest token)")
        ->capture_default_str()
        ->type_name("T");
    command.add_option("--top-k", sampler.top_k, "draw from the K likeliest (0: all)")
        ->capture_default_str()
        ->type_name("K");
    command.add_option("--top-p", sampler.top_p, "draw from the likeliest with this probability")
        ->capture_default_str()
        ->type_name("P");
    command.add_option("--min-p", sampler.min_p, "and that have this share of the likeliest's")
        ->capture_default_str()
        ->type_name("P");
    command
        .add_option("--repeat-penalty", sampler.repeat_penalty,
                    "divide the logits of tokens generated lately by this (1: none)")
        ->capture_default_str()
        ->type_name("X");
    command
        .add_option("--presence-penalty", sampler.presence_penalty,
                    "take this off the logits of tokens generated lately")
        ->capture_default_str()
        ->type_name("X");
    command
        .add_option("--frequency-penalty", sampler.frequency_penalty,
                    "take this off for each time that a token was generated lately")
        ->capture_default_str()
        ->type_name("X");
    command
        .add_option("--penalty-last-n", sampler.penalty_last_n,
                    "how many generated tokens are lately")
        ->capture_default_str()
        ->type_name("N");
    command.add_option("--seed", sampler.seed, "the same seed gives the same text")
        ->capture_default_str()
        ->check(CLI::Range(uint32_t{0}, k_seed_end - 1))
        ->type_name("N");
}

}  // namespace orthorank
