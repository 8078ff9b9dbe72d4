"""Rates of synthesis, splicing and degradation from counts along an angle."""
