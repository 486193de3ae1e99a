// Critical times by rules for integrals, written by hand and called from rule.py: about what the machine can do.
//
// The integral is that of `clock` in common.py. `W` points stand side by side, and every loop over them becomes vector
// instructions with the exp and log of libmvec: `objdump -d` shows calls of _ZGVeN8v_exp and _ZGVeN8v_log (of
// _ZGVdN4v_ where registers have 256 bits).

#include <algorithm>
#include <cmath>
#include <vector>

#include "threads.hpp"

constexpr int W = 32;

struct Rule {
    int count;
    const double *nodes, *fine, *rough;  // `rough` are the weights that estimate the error
};

// The integrand at chi = -minus.
inline double integrand(double scale, double power, double minus) {
    return std::exp(power * std::log(scale + scale * std::exp(minus)));
}

// A rule over each point's whole interval; where its two results differ, over halves of it.
void split(Rule rule, Clock c, double rtol, long first, long last, double *out) {
    struct Piece {
        long point;
        double from, width;
    };
    std::vector<Piece> left;
    for (long i = first; i < last; ++i) left.push_back({i, 0, 1}), out[i] = 0;
    while (!left.empty()) {
        const int some = std::min<long>(W, left.size());
        Piece now[W];
        double start[W], span[W], scale[W], power[W], fine[W] = {}, rough[W] = {};
        for (int j = 0; j < W; ++j) {
            now[j] = left[left.size() - 1 - std::min(j, some - 1)];
            const long i = now[j].point;
            start[j] = c.start[i] + c.span[i] * now[j].from, span[j] = c.span[i] * now[j].width;
            scale[j] = c.scale[i], power[j] = c.power[i];
        }
        left.resize(left.size() - some);
        for (int k = 0; k < rule.count; ++k) {
            const double x = rule.nodes[k], a = rule.fine[k], b = rule.rough[k];
#pragma omp simd
            for (int j = 0; j < W; ++j) {
                const double f = integrand(scale[j], power[j], -start[j] - span[j] * x);
                fine[j] += a * f, rough[j] += b * f;
            }
        }
        for (int j = 0; j < some; ++j) {
            const auto [i, from, width] = now[j];
            if (std::abs(fine[j] - rough[j]) <= rtol * fine[j] || width < 1e-3)
                out[i] += span[j] * fine[j];
            else
                left.push_back({i, from, width / 2}), left.push_back({i, from + width / 2, width / 2});
        }
    }
}

// A rule over y, chi = start + x span, x = -ln(1 - y (1 - e^-k)) / k, in which the integrand hardly varies. Nothing is
// checked.
void stretched(Rule rule, Clock c, long first, long last, double *out) {
    for (long i = first; i < last; i += W) {
        double start[W], span[W], scale[W], power[W], rate[W], reach[W], sum[W] = {};
        for (int j = 0; j < W; ++j) {
            const long point = std::min(i + j, last - 1);
            start[j] = c.start[point], span[j] = c.span[point], scale[j] = c.scale[point], power[j] = c.power[point];
        }
#pragma omp simd
        for (int j = 0; j < W; ++j) {
            const double ratio = (1 + std::exp(-start[j])) / (1 + std::exp(-start[j] - span[j]));
            const double k = std::max(1e-3, 0.1 * power[j] * std::log(ratio));  // any is right; less would lose digits
            rate[j] = span[j] / k, reach[j] = 1 - std::exp(-k);
        }
        for (int n = 0; n < rule.count; ++n) {
            const double y = rule.nodes[n], weight = rule.fine[n];
#pragma omp simd
            for (int j = 0; j < W; ++j) {
                const double left = 1 - y * reach[j];
                sum[j] += weight / left * integrand(scale[j], power[j], rate[j] * std::log(left) - start[j]);
            }
        }
        for (int j = 0; j < W && i + j < last; ++j) out[i + j] = rate[j] * reach[j] * sum[j];
    }
}

extern "C" {
void split_times(int count, const double *nodes, const double *fine, const double *rough, int threads, long n,
                 const double *start, const double *span, const double *scale, const double *power, double rtol,
                 double *out) {
    const Rule rule{count, nodes, fine, rough};
    const Clock c{start, span, scale, power};
    on_threads(threads, n, [=](long first, long last) { split(rule, c, rtol, first, last, out); });
}

void stretched_times(int count, const double *nodes, const double *weights, int threads, long n, const double *start,
                     const double *span, const double *scale, const double *power, double, double *out) {
    const Rule rule{count, nodes, weights, weights};
    const Clock c{start, span, scale, power};
    on_threads(threads, n, [=](long first, long last) { stretched(rule, c, first, last, out); });
}
}
