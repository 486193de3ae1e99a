// Critical times with Boost.odeint, called from odeint.py: over chi without an event, and in u with one.
//
// Equations and scaling are those of `clock` and `scaled` in common.py.

#include <algorithm>
#include <array>
#include <cmath>
#include <exception>
#include <utility>

#include <boost/numeric/odeint.hpp>
#include <boost/version.hpp>

#include "threads.hpp"

namespace odeint = boost::numeric::odeint;

template <class State, int order>
auto stepper(double rtol) {
    // Not fehlberg78: its error estimate vanishes for an integrand that does not depend on the state.
    if constexpr (order == 5)
        return odeint::make_controlled(0.0, rtol, odeint::runge_kutta_dopri5<State>());
    else
        return odeint::bulirsch_stoer<State>(0.0, rtol);
}

// `W` neighbouring points as one state, so that the compiler can use vector instructions; they share their steps.
template <int order, int W>
void clock_part(Clock c, double rtol, long first, long last, double *out) {
    using State = std::array<double, W>;
    for (long i = first; i < last; i += W) {
        double start[W], span[W], scale[W], power[W];
        State time;
        double step = 0.5;
        for (int j = 0; j < W; ++j) {
            const long k = std::min(i + j, last - 1);
            start[j] = c.start[k], span[j] = c.span[k], scale[j] = c.scale[k], power[j] = c.power[k];
            time[j] = 0;
            step = std::min(step, 1 / (1e-3 + power[j] * span[j]));  // no more than an e-fold of the integrand
        }
        const auto field = [&](const State &, State &slope, double s) {
#pragma omp simd
            for (int j = 0; j < W; ++j) {  // exp of log, which takes half as long as pow
                const double base = scale[j] + scale[j] * std::exp(-start[j] - span[j] * s);
                slope[j] = span[j] * std::exp(power[j] * std::log(base));
            }
        };
        odeint::integrate_adaptive(stepper<State, order>(rtol), field, time, 0.0, 1.0, step);
        for (int j = 0; j < W && i + j < last; ++j) out[i + j] = time[j];
    }
}

// v from 1 until q / r, then the time of the crossing on the stepper's dense output.
void event_part(const double *r, const double *q, const double *a, const double *m, double rtol, long first, long last,
                double *out) {
    using State = std::array<double, 1>;
    for (long i = first; i < last; ++i) {
        const double target = q[i] / r[i];
        const auto field = [&](const State &tried, State &slope, double) {
            const double v = std::clamp(tried[0], 1.0, 1 / r[i]);  // a step too long must not overflow
            slope[0] = std::pow(v, a[i]) * (1 - std::pow(r[i] * v, m[i]));
        };
        auto stepper = odeint::make_dense_output(0.0, rtol, odeint::runge_kutta_dopri5<State>());
        stepper.initialize(State{1.0}, 0.0, 0.01);
        std::pair<double, double> span;
        do span = stepper.do_step(field);
        while (stepper.current_state()[0] < target);
        State v;
        for (double middle; middle = (span.first + span.second) / 2, span.first < middle && middle < span.second;) {
            stepper.calc_state(middle, v);
            (v[0] < target ? span.first : span.second) = middle;
        }
        out[i] = span.second;
    }
}

// What a stepper gives up on gets the time 0, which the comparison will show.
template <class Part>
void on_threads_or_zero(int threads, long n, double *out, Part part) {
    on_threads(threads, n, [=](long first, long last) {
        try {
            part(first, last);
        } catch (const std::exception &) {
            std::fill(out + first, out + last, 0.0);
        }
    });
}

extern "C" {
int boost_version() { return BOOST_VERSION; }

// `order` is 5 (dopri5) or 0 (bulirsch_stoer, which chooses its own), `width` 1, 16 or 32.
void clock_times(int order, int width, int threads, long n, const double *start, const double *span,
                 const double *scale, const double *power, double rtol, double *out) {
    const Clock c{start, span, scale, power};
    on_threads_or_zero(threads, n, out, [=](long first, long last) {
        if (order == 5 && width == 1) clock_part<5, 1>(c, rtol, first, last, out);
        if (order == 5 && width == 16) clock_part<5, 16>(c, rtol, first, last, out);
        if (order == 5 && width == 32) clock_part<5, 32>(c, rtol, first, last, out);
        if (order == 0 && width == 1) clock_part<0, 1>(c, rtol, first, last, out);
        if (order == 0 && width == 16) clock_part<0, 16>(c, rtol, first, last, out);
        if (order == 0 && width == 32) clock_part<0, 32>(c, rtol, first, last, out);
    });
}

void event_times(int threads, long n, const double *r, const double *q, const double *a, const double *m, double rtol,
                 double *out) {
    on_threads_or_zero(threads, n, out,
                       [=](long first, long last) { event_part(r, q, a, m, rtol, first, last, out); });
}
}
