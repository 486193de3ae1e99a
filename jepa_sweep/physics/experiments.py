"""What may vary in networks and time series, and what their parameters must obey."""

import numpy as np

from jepa_sweep.physics import data
from jepa_sweep.physics.network import ACTIVATIONS, OBJECTIVES, STARTS
from jepa_sweep.physics.systems import Columns, Experiment, Idle, Mask, Parameter, Rule

MODELS = ("gaussian", "temporal", "masked", "complementary")
OPTIMIZERS = ("sgd", "momentum", "adam")
SERIES_METHODS = ("blocks",)
UNTOLERANT = ("exact", *OPTIMIZERS, *SERIES_METHODS)  # methods that keep no relative tolerance
SOLVERS = ("dopri8", "dopri5", "tsit5")
MOST_SEED = 2**24 - 1  # the largest that single precision holds with all smaller ones
MOST_STEPS = 2**24  # that single precision can count

DATA = (
    Parameter("data", "model of the data", groups=True, default="gaussian", choices=MODELS),
    Parameter("features", "number of features, the dimension of x and y", integer=True, groups=True, default=100),
    Parameter("layout", "how rho goes with lam over the features", default="same", choices=data.LAYOUTS),
    Parameter("lam_low", "lowest lam; of masked data, power at the highest frequency", default=1.0),
    Parameter("lam_high", "highest lam; of masked data, power at the lowest frequency", default=1.3),
    Parameter("rho_low", "lowest rho; of masked data without meaning", default=0.4),
    Parameter("rho_high", "highest rho; of masked data without meaning", default=0.9),
    Parameter("target_noise", "variance of y that x cannot explain, in units of lam rho (gaussian)", default=1.0),
    Parameter("keep", "probability that a pixel is kept (masked, complementary)", default=0.5),
)
NETWORK = (
    Parameter("L", "encoder layers", unit="layers", integer=True, groups=True),
    Parameter("width", "outputs of every encoder layer", integer=True, groups=True, default="features"),
    Parameter("start", "how the weights begin", groups=True, default="aligned", choices=STARTS),
    Parameter("scale", "size of every layer at the start; an aligned encoder has w(0) = scale^L", default=1.0),
    Parameter("predictor_scale", "the same of the predictor", default="scale"),
    Parameter("ema", "rate at which the averaged encoder follows (objective ema)", unit="1/flow time", default=1.0),
    Parameter("t_end", "flow time t = eta steps at which training ends", unit="flow time"),
    Parameter("seed", "of the weights, and of the samples", integer=True, default=0),
)
TRAINING = (
    Parameter("activation", "between the layers of the encoder", groups=True, default="linear",
              choices=tuple(ACTIVATIONS)),
    Parameter("eta", "step size", unit="flow time", default=0.01),
    Parameter("momentum", "decay of the mean gradient of momentum and adam", default=0.9),
    Parameter("batch", "samples of one step; 0 for the gradient of the whole population", unit="samples",
              integer=True, groups=True, default=0),
)  # fmt: skip


def _whole(low: int, high: int, name: str) -> Rule:
    def holds(c: Columns) -> Mask:
        x = c[name]
        return (x >= low) & (x <= high) & (x == np.floor(x))

    return Rule((name,), holds, f"be a whole number from {low} to {high:,}")


def _between(low: float, high: float, *names: str, low_included: bool = False) -> list[Rule]:
    def rule(name: str) -> Rule:
        def holds(c: Columns) -> Mask:
            return (c[name] < high) & ((c[name] >= low) if low_included else (c[name] > low))

        less = f" and below {high:g}" if np.isfinite(high) else " and finite"
        return Rule((name,), holds, f"be {'at least' if low_included else 'more than'} {low:g}{less}")

    return [rule(name) for name in names]


def _is(c: Columns, name: str, choices: tuple[str, ...], word: str) -> Mask:
    return c[name] == choices.index(word)


RULES = (
    _whole(2, 10_000, "features"),
    _whole(1, 64, "L"),
    _whole(1, 100_000, "width"),
    _whole(0, MOST_SEED, "seed"),
    *_between(0, np.inf, "lam_low", "lam_high", "rho_low", "rho_high", "scale", "predictor_scale", "t_end"),
    *_between(0, np.inf, "target_noise", "ema", low_included=True),
    *_between(0, 1, "keep"),
    *_between(0, 1, "p"),
    Rule(
        ("data", "lam_high"),
        lambda c: ~_is(c, "data", MODELS, "temporal") | (c["lam_high"] < 1),
        "keep lam below 1 for temporal data, where it is the correlation from step to step",
    ),
    Rule(
        ("data", "lam_low", "rho_high"),
        lambda c: ~_is(c, "data", MODELS, "temporal") | (c["rho_high"] <= c["lam_low"]),
        "have rho <= lam for temporal data, because rho = lam / (1 + noise^2)",
    ),
    Rule(
        ("start", "features", "width"),
        lambda c: ~_is(c, "start", STARTS, "aligned") | (c["width"] >= c["features"]),
        "give an aligned start at least as much width as there are features; try gaussian",
    ),
)
TRAINING_RULES = (
    *_between(0, np.inf, "eta"),
    *_between(0, 1, "momentum", low_included=True),
    _whole(0, 10**7, "batch"),
    Rule(
        ("t_end", "eta"),
        lambda c: (c["t_end"] >= c["eta"]) & (c["t_end"] <= MOST_STEPS * c["eta"]),
        f"make between 1 and {MOST_STEPS:,} steps, t_end / eta",
    ),
    Rule(
        ("activation", "batch"),
        lambda c: _is(c, "activation", tuple(ACTIVATIONS), "linear") | (c["batch"] > 0),
        "come with `batch` of 1 or more unless linear: only linear networks have a gradient of the whole population",
    ),
)

# The seed of an aligned start rotates the hidden layers. Gradients of the population rotate with them, and so do plain
# steps, their momentum and the flow; not so adam, which scales every weight by itself.
IDLE = (
    Idle("seed", ("start",), lambda c: _is(c, "start", STARTS, "aligned"), SOLVERS, 'where start = "aligned"',
         'start = "gaussian"'),
)  # fmt: skip
TRAINING_IDLE = (
    Idle(
        "seed",
        ("start", "batch"),
        lambda c: _is(c, "start", STARTS, "aligned") & (c["batch"] == 0),
        ("sgd", "momentum"),
        'where start = "aligned" and batch = 0',
        'start = "gaussian" or a batch of samples',
    ),
)

SERIES = (
    Parameter("features", "number of features", integer=True, groups=True, default=2),
    Parameter("gamma_first", "correlation of the signal of the first feature from step to step", default=0.99),
    Parameter("gamma_last", "the same of the last; those between are evenly spaced", default=0.95),
    Parameter("noise_first", "standard deviation of the noise of the first feature", default=1.0),
    Parameter("noise_last", "the same of the last", default=0.5),
    Parameter("log10_T", "decimal logarithm of the length of the series, in pairs"),
    Parameter("seed", "of the series", integer=True, default=0),
)
SERIES_RULES = (
    _whole(2, 1000, "features"),
    *_between(0, 1, "gamma_first", "gamma_last"),
    *_between(0, np.inf, "noise_first", "noise_last", low_included=True),
    Rule(("log10_T",), lambda c: (c["log10_T"] >= 1) & (c["log10_T"] <= 9), "lie between 1 and 9"),
    _whole(0, MOST_SEED, "seed"),
)

NETWORK_FLOWS = tuple(
    Experiment("network", name, 1, (*DATA, *NETWORK), RULES, "networks", SOLVERS, IDLE) for name in OBJECTIVES
)
TRAININGS = tuple(
    Experiment(
        "training",
        name,
        1,
        (*DATA, *NETWORK, *TRAINING),
        (*RULES, *TRAINING_RULES),
        "networks",
        OPTIMIZERS,
        TRAINING_IDLE,
    )
    for name in OBJECTIVES
)
TEMPORAL = Experiment("temporal", "moments", 2, SERIES, SERIES_RULES, "estimates", SERIES_METHODS)
