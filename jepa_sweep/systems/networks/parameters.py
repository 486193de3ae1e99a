"""What may vary in networks, and what their parameters must obey."""

import math

from jepa_sweep.engine.settings import NETWORK_SOLVERS
from jepa_sweep.physics.host import LAYOUTS, STARTS, Columns
from jepa_sweep.systems.shared import MOST_SEED, between, whole
from jepa_sweep.systems.system import Idle, Mask, Parameter, Rule

# The words of physics, in its order: written out because physics brings JAX, which describing a system must not.
OBJECTIVES = ("jepa", "mae", "nosg", "ema")
MODELS = ("gaussian", "temporal", "masked", "complementary")
ACTIVATIONS = ("linear", "relu", "gelu", "tanh")
MOST_STEPS = 2**24  # that single precision can count

DATA = (
    Parameter("data", "model of the data", partitions_files=True, default="gaussian", choices=MODELS),
    Parameter(
        "features",
        "number of features, the dimension of x and y",
        integer=True,
        partitions_files=True,
        default=100,
        example=10,
    ),
    Parameter("layout", "how rho goes with lam over the features", default="same", choices=LAYOUTS),
    Parameter("lam_low", "lowest lam; of masked data, power at the highest frequency", default=1.0),
    Parameter("lam_high", "highest lam; of masked data, power at the lowest frequency", default=1.3),
    Parameter("rho_low", "lowest rho; of masked data without meaning", default=0.4),
    Parameter("rho_high", "highest rho; of masked data without meaning", default=0.9),
    Parameter("target_noise", "variance of y that x cannot explain, in units of lam rho (gaussian)", default=1.0),
    Parameter("keep", "probability that a pixel is kept (masked, complementary)", default=0.5),
)
NETWORK = (
    Parameter("L", "encoder layers", unit="layers", integer=True, partitions_files=True, example=[1, 2]),
    Parameter("width", "outputs of every encoder layer", integer=True, partitions_files=True, default="features"),
    Parameter("start", "how the weights begin", partitions_files=True, default="aligned", choices=STARTS),
    Parameter(
        "scale", "size of every layer at the start; an aligned encoder has w(0) = scale^L", default=1.0, example=0.3
    ),
    Parameter("predictor_scale", "the same of the predictor", default="scale"),
    Parameter("ema", "rate at which the averaged encoder follows (objective ema)", unit="1/flow time", default=1.0),
    Parameter("t_end", "flow time t = eta steps at which training ends", unit="flow time", example=100.0),
    Parameter("seed", "of the weights, and of the samples", integer=True, default=0),
)
TRAINING = (
    Parameter("activation", "between the layers of the encoder", partitions_files=True, default="linear",
              choices=ACTIVATIONS),
    Parameter("eta", "step size", unit="flow time", default=0.01, example=0.1),
    Parameter("momentum", "decay of the mean gradient of momentum and adam", default=0.9),
    Parameter("batch", "samples of one step; 0 for the gradient of the whole population", unit="samples",
              integer=True, partitions_files=True, default=0),
)  # fmt: skip


def _is(c: Columns, name: str, choices: tuple[str, ...], word: str) -> Mask:
    return c[name] == choices.index(word)


RULES = (
    whole(2, 10_000, "features"),
    whole(1, 64, "L"),
    whole(1, 100_000, "width"),
    whole(0, MOST_SEED, "seed"),
    *between(0, math.inf, "lam_low", "lam_high", "rho_low", "rho_high", "scale", "predictor_scale", "t_end"),
    *between(0, math.inf, "target_noise", "ema", low_included=True),
    *between(0, 1, "keep"),
    *between(0, 1, "p"),
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
    *between(0, math.inf, "eta"),
    *between(0, 1, "momentum", low_included=True),
    whole(0, 10**7, "batch"),
    Rule(
        ("t_end", "eta"),
        lambda c: (c["t_end"] >= c["eta"]) & (c["t_end"] <= MOST_STEPS * c["eta"]),
        f"make between 1 and {MOST_STEPS:,} steps, t_end / eta",
    ),
    Rule(
        ("activation", "batch"),
        lambda c: _is(c, "activation", ACTIVATIONS, "linear") | (c["batch"] > 0),
        "come with `batch` of 1 or more unless linear: only linear networks have a gradient of the whole population",
    ),
)

# The seed of an aligned start rotates the hidden layers. Gradients of the population rotate with them, and so do plain
# steps, their momentum and the flow; not so adam, which scales every weight by itself.
IDLE = (
    Idle("seed", ("start",), lambda c: _is(c, "start", STARTS, "aligned"), NETWORK_SOLVERS, 'where start = "aligned"',
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
