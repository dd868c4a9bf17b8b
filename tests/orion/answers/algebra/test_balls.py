"""Ball arithmetic: every ball contains the true value, and stays narrow."""

from decimal import Context, Decimal
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from orion.answers.algebra.balls import Balls


@settings(deadline=None, derandomize=True, max_examples=80)
@given(st.fractions(-30, 30, max_denominator=500))
def test_balls_contain_the_true_value(x):
    balls = Balls(40)
    wide = Context(prec=80)
    point = balls.exact(x)
    exact = wide.divide(Decimal(x.numerator), Decimal(x.denominator))
    assert wide.subtract(point.mid, exact).copy_abs() <= point.rad
    one = balls.add(
        balls.mul(balls.sine(point), balls.sine(point)),
        balls.mul(balls.sine(point, 1), balls.sine(point, 1)),
    )
    assert wide.subtract(one.mid, Decimal(1)).copy_abs() <= one.rad < Decimal("1e-30")
    back = balls.ln(balls.exp(point))
    assert wide.subtract(back.mid, exact).copy_abs() <= back.rad < Decimal("1e-30")
    angle = balls.arctan(point)
    tangent = balls.mul(balls.sine(angle), balls.inverse(balls.sine(angle, 1)))
    assert wide.subtract(tangent.mid, exact).copy_abs() <= tangent.rad < Decimal("1e-28")
    root = balls.power(balls.exact(abs(x) + 1), Fraction(1, 3))
    cube = balls.power(root, Fraction(3))
    assert wide.subtract(cube.mid, wide.add(exact.copy_abs(), Decimal(1))).copy_abs() <= cube.rad
