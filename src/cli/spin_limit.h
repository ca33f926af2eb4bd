// How long threads that wait for each other spin before they sleep.
#pragma once

namespace orthorank {

// Starts the program again (execv) with GOMP_SPINCOUNT in its environment, unless that or
// OMP_WAIT_POLICY is there: GNU's OpenMP reads them when it is loaded, before main. By itself it
// spins for milliseconds at each of hundreds of barriers a token. Beside another busy process that
// is time which the thread that is waited for does not get; docs/speed.md has the figures. Returns
// if the program cannot be started again: then it goes on as it is. Costs some milliseconds.
void limit_spinning(char **argv);

}  // namespace orthorank
