// How many threads Eigen's products use in a scope: the default number where the work is worth
// waking them, else one. Eigen's own limit is so low that small fits mostly wait. For .cpp files
// that compute with Eigen; Eigen's setting is global, so for one thread at a time.
#pragma once

#include <Eigen/Core>

#include "base/threads.h"

namespace orthorank {

class EigenThreads {
 public:
    explicit EigenThreads(double n_multiply_adds) : before_(Eigen::nbThreads()) {
        Eigen::setNbThreads(n_multiply_adds > k_worth_waking ? default_n_threads() : 1);
    }
    ~EigenThreads() { Eigen::setNbThreads(before_); }
    EigenThreads(const EigenThreads &) = delete;
    EigenThreads &operator=(const EigenThreads &) = delete;

 private:
    static constexpr double k_worth_waking = 5e7;
    int before_;
};

}  // namespace orthorank
