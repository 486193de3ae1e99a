// What the C++ programs beside this file share: the columns of `clock` in common.py, and points on all cores.

#pragma once

#include <algorithm>
#include <thread>
#include <vector>

struct Clock {
    const double *start, *span, *scale, *power;
};

// `part(first, last)` for all points, in small blocks in turn, because the costly points are the last ones.
template <class Part>
void on_threads(int threads, long n, Part part) {
    std::vector<std::thread> pool;
    for (int t = 0; t < threads; ++t)
        pool.emplace_back([=] {
            for (long i = 256L * t; i < n; i += 256L * threads) part(i, std::min(n, i + 256));
        });
    for (auto &thread : pool) thread.join();
}
