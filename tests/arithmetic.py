"""How far apart two computations of the same number may be: tolerances from the arithmetic.

Processors, libraries and thread counts differ in the order of a sum, in the number of its partial
sums and in whether a product is rounded before it is added. With the unit roundoff ``u = eps / 2``
of the dtype, any of these ways computes ``sum x_i y_i`` of n terms with an error of at most

    gamma_n sum |x_i y_i|,    gamma_n = n u / (1 - n u)

(Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1). Where rounding
errors are independent and of mean zero, n may be replaced by ``8 sqrt(n)``, except with a
probability below ``2 n exp(-32)``, 3e-14 a term (Higham and Mary, "A new approach to probabilistic
rounding error analysis", 2019, theorem 2.4); from n = 64 on that is the smaller.

The tests use these bounds where results of other batch sizes, instructions, backends or threads
meet. Better than a bound is data without rounding: sums of small integers are exact in any order
(``extract_cases.Mixer``). For the sums of sums of a deep network the bounds say little: two ways
through one are compared to :func:`half_the_digits`, in float64 wherever the code takes it.
"""

import math

import torch

LIKELY = 8.0
"""How many standard deviations of the accumulated rounding error count as impossible."""


def gamma(length, dtype):
    """Bound on the error of a sum of so many terms, relative to the sum of their sizes."""
    roundings = min(length, LIKELY * math.sqrt(length)) * torch.finfo(dtype).eps / 2
    return roundings / (1 - roundings)


def assert_same_sums(seen, wanted, *, sizes, length):
    """Assert that two computations of sums differ by no more than both may err.

    ``sizes`` are the sums of the terms' absolute values, elementwise or one bound for all;
    ``length`` is the number of terms, and of what else is rounded on the way to a result.
    """
    seen, wanted = torch.as_tensor(seen), torch.as_tensor(wanted)
    assert seen.shape == wanted.shape
    allowed = (gamma(length, seen.dtype) + gamma(length, wanted.dtype)) * torch.as_tensor(sizes)
    excess = (seen.double() - wanted.double()).abs() - allowed.double()
    assert bool((excess <= 0).all()), f"beyond rounding by {float(excess.max())}"


def half_the_digits(dtype=torch.float64):
    """Tolerances for a composition of many sums, each of them well-conditioned."""
    eps = math.sqrt(torch.finfo(dtype).eps)
    return {"rtol": eps, "atol": eps}
