// What is measured of one plan: each function goes on from what is kept in the workshop's folder,
// puts everything into the findings, and leaves out what the sources do not have.
#pragma once

#include <string>

#include "reproduction/workshop.h"

namespace orthorank {

void measure_perplexity(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction);
void measure_choices(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction);
void measure_truthful(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction);
void measure_longbench(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction);
// Prefill of random tokens, the dense model taking turns (the paper's protocol).
void measure_speed(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction);
// A greedy continuation of Table 10's prompt.
void write_text(Workshop &workshop, const std::string &plan, const OnFraction &on_fraction);

// The paper's own prompt is not in the text at hand; this one is ours.
constexpr const char *k_text_prompt =
    "The three most useful things to know about the night sky are";

// How much of the work on a plan an earlier run has done, 0 to 1, by what lies in the folder.
double part_kept(const Workshop &workshop, Measure measure, const std::string &plan);

}  // namespace orthorank
