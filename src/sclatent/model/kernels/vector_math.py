"""exp and log as polynomials that the compiler can vectorise in the loops they stand in.

Of float32 after Cephes; log of float64 after fdlibm, exp by its Taylor series.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# a product and a sum may fuse, but nothing may be reordered: the bytes do not depend on the number of threads
OPTIONS: dict[str, Any] = {
    "nogil": True,
    "cache": True,
    "error_model": "numpy",
    "fastmath": {"contract"},
    "no_cfunc_wrapper": True,  # never called, and an eighth of the compilation
}


# numba widens int32 arithmetic to int64, which halves the vector width: these three stay in 32 bits
def _exponent_ir(typingctx: Any, value: Any) -> Any:
    """float32 u > 0 → the whole number k (as float32) with u = m · 2ᵏ and √½ ≤ m < √2."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        bits = builder.sub(builder.bitcast(args[0], i32), ir.Constant(i32, SQRT_HALF_BITS))
        return builder.sitofp(builder.ashr(bits, ir.Constant(i32, 23)), ir.FloatType())

    return types.float32(types.float32), codegen


def _mantissa_ir(typingctx: Any, value: Any) -> Any:
    """float32 u > 0 → the m of `_exponent`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        bits = builder.sub(builder.bitcast(args[0], i32), ir.Constant(i32, SQRT_HALF_BITS))
        bits = builder.add(builder.and_(bits, ir.Constant(i32, 0x7FFFFF)), ir.Constant(i32, SQRT_HALF_BITS))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.float32), codegen


def _power_of_two_ir(typingctx: Any, rounded: Any) -> Any:
    """ROUND + n, for a whole n between -126 and 127 → 2ⁿ as float32: n is in the lowest bits of the sum."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i32 = ir.IntType(32)
        exponent = builder.shl(builder.bitcast(args[0], i32), ir.Constant(i32, 23))
        return builder.bitcast(builder.add(exponent, ir.Constant(i32, 127 << 23)), ir.FloatType())

    return types.float32(types.float32), codegen


# float64: no vector instruction turns 64-bit integers into numbers, so their bits are put where a number has its digits
def _exponent64_ir(typingctx: Any, value: Any) -> Any:
    """float64 u > 0 → the whole number k (as float64) with u = m · 2ᵏ and √½ ≤ m < √2."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        bits = builder.sub(builder.bitcast(args[0], i64), ir.Constant(i64, SQRT_HALF_BITS64))
        # 1023 more, so that it is not negative
        bits = builder.lshr(builder.add(bits, ir.Constant(i64, 1023 << 52)), ir.Constant(i64, 52))
        digits = builder.bitcast(builder.or_(bits, ir.Constant(i64, TWO52_BITS)), ir.DoubleType())
        return builder.fsub(digits, ir.Constant(ir.DoubleType(), float((1 << 52) + 1023)))

    return types.float64(types.float64), codegen


def _mantissa64_ir(typingctx: Any, value: Any) -> Any:
    """float64 u > 0 → the m of `_exponent64`."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        bits = builder.sub(builder.bitcast(args[0], i64), ir.Constant(i64, SQRT_HALF_BITS64))
        bits = builder.add(builder.and_(bits, ir.Constant(i64, (1 << 52) - 1)), ir.Constant(i64, SQRT_HALF_BITS64))
        return builder.bitcast(bits, ir.DoubleType())

    return types.float64(types.float64), codegen


def _power_of_two64_ir(typingctx: Any, value: Any) -> Any:
    """Whole float64 n between -1022 and 1023 → 2ⁿ."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        i64 = ir.IntType(64)
        shifted = builder.fadd(args[0], ir.Constant(ir.DoubleType(), float((1 << 52) + 1023)))
        return builder.bitcast(builder.shl(builder.bitcast(shifted, i64), ir.Constant(i64, 52)), ir.DoubleType())

    return types.float64(types.float64), codegen


_exponent: Any = intrinsic(_exponent_ir)
_mantissa: Any = intrinsic(_mantissa_ir)
_power_of_two: Any = intrinsic(_power_of_two_ir)
_exponent64: Any = intrinsic(_exponent64_ir)
_mantissa64: Any = intrinsic(_mantissa64_ir)
_power_of_two64: Any = intrinsic(_power_of_two64_ir)
SQRT_HALF_BITS, SQRT_HALF_BITS64 = 0x3F3504F3, 0x3FE6A09E667F3BCD
TWO52_BITS = 0x4330000000000000
_f = np.float32
LOG2E, LN2_HIGH, LN2_LOW = _f(1.44269504088896341), _f(0.693359375), _f(-2.12194440e-4)
ROUND = _f(12582912.0)
E0, E1, E2 = _f(1.9875691500e-4), _f(1.3981999507e-3), _f(8.3334519073e-3)
E3, E4, E5 = _f(4.1665795894e-2), _f(1.6666665459e-1), _f(5.0000001201e-1)
L0, L1, L2 = _f(7.0376836292e-2), _f(-1.1514610310e-1), _f(1.1676998740e-1)
L3, L4, L5 = _f(-1.2420140846e-1), _f(1.4249322787e-1), _f(-1.6668057665e-1)
L6, L7, L8 = _f(2.0000714765e-1), _f(-2.4999993993e-1), _f(3.3333331174e-1)
ONE, HALF, LOWEST = _f(1.0), _f(0.5), _f(-87.0)
ROUND64 = 6755399441055744.0
LN2_HIGH64, LN2_LOW64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
M0, M1, M2 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01
M3, M4, M5, M6 = 2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01


@njit(forceinline=True, **OPTIONS)
def exp32(x):  # type: ignore[no-untyped-def]
    """Exponential of a float32 ≤ 0, below -87 that of -87; what is not a number stays so."""
    x = LOWEST if x < LOWEST else x
    rounded = x * LOG2E + ROUND
    n = rounded - ROUND
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    p = ((((E0 * r + E1) * r + E2) * r + E3) * r + E4) * r + E5
    p = (p * r) * r + r + ONE
    return p * _power_of_two(rounded)


@njit(forceinline=True, **OPTIONS)
def log1p32(r, u, inverse):  # type: ignore[no-untyped-def]
    """Logarithm log(1 + r) of a float32 r ≥ 0, given u = 1 + r and 1/u."""
    k = _exponent(u)
    f = _mantissa(u) - ONE
    p = (((((((L0 * f + L1) * f + L2) * f + L3) * f + L4) * f + L5) * f + L6) * f + L7) * f + L8
    square = f * f
    y = p * f * square + k * LN2_LOW - HALF * square
    # the last term is what rounding 1 + r lost
    return ((f + y) + k * LN2_HIGH) + (r - (u - ONE)) * inverse


@njit(forceinline=True, **OPTIONS)
def log32(u):  # type: ignore[no-untyped-def]
    """Logarithm of a float32 u > 0."""
    k = _exponent(u)
    f = _mantissa(u) - ONE
    p = (((((((L0 * f + L1) * f + L2) * f + L3) * f + L4) * f + L5) * f + L6) * f + L7) * f + L8
    square = f * f
    y = p * f * square + k * LN2_LOW - HALF * square
    return (f + y) + k * LN2_HIGH


@njit(forceinline=True, **OPTIONS)
def exp64(x):  # type: ignore[no-untyped-def]
    """Exponential of a float64 below 700, below -700 that of -700."""
    x = x if x > -700.0 else -700.0
    n = (x * 1.4426950408889634 + ROUND64) - ROUND64
    r = (x - n * LN2_HIGH64) - n * LN2_LOW64
    p = 1.0 / 39916800.0
    for c in (3628800.0, 362880.0, 40320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0, 1.0, 1.0):
        p = p * r + 1.0 / c
    return p * _power_of_two64(n)


@njit(forceinline=True, **OPTIONS)
def log64(u):  # type: ignore[no-untyped-def]
    """Logarithm of a float64 u > 0."""
    k = _exponent64(u)
    f = _mantissa64(u) - 1.0
    s = f / (2.0 + f)
    z = s * s
    half = 0.5 * f * f
    r = (((((M6 * z + M5) * z + M4) * z + M3) * z + M2) * z + M1) * z + M0
    return k * LN2_HIGH64 - ((half - (s * (half + r * z) + k * LN2_LOW64)) - f)
