"""Figures of drawn cells beside real ones."""
