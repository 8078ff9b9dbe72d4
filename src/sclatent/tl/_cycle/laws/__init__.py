"""How counts follow a curve over the angle: shallow counts by a negative binomial, deep ones by their logarithms."""
