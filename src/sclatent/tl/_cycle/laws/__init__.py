"""Distributions of counts around a curve over the angle: negative binomial if shallow, log-normal if deep."""
